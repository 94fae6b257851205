"""Many threads on one gallery: every answer is one that some moment could give."""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.index import recall_measure
from gallery_index.index.first_stage import FirstStage
from gallery_index.records import Added, EntryFilter
from tests.gallery_index.places import Place, enrolled, ids, new, vector


def test_searches_beside_writes_see_whole_entries(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, *[new(seed) for seed in range(20)])

    def write(start: int) -> None:
        for seed in range(start, start + 30):
            enrolled(gallery, new(seed))
            if seed % 3 == 0:
                gallery.delete(f"e{seed}")
            if seed % 10 == 0:
                gallery.snapshot()

    def read(seed: int) -> None:
        for _ in range(60):
            best, *rest = gallery.search(vector(seed), top_k=50)
            assert best.entry.entry_id == f"e{seed}"
            assert [m.similarity for m in rest] == sorted([m.similarity for m in rest])[::-1]
            page = gallery.list(EntryFilter(), limit=20)
            assert ids(page.entries) == [f"e{number}" for number in range(20)]

    with ThreadPoolExecutor(6) as threads:
        writers = [threads.submit(write, 1000 * number) for number in (1, 2, 3)]
        readers = [threads.submit(read, seed) for seed in (3, 4, 5)]
        for future in [*writers, *readers]:
            future.result()
    assert len(gallery) == 20 + 3 * 20
    assert gallery.verify().problems == []
    assert gallery.stats().damaged_rows == 0


def test_one_id_sent_by_many_at_once_is_enrolled_once(place: Place) -> None:
    gallery = place.open()
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: gallery.add([new(1)]), range(16)))
    added = [result for (result,) in results if isinstance(result, Added)]
    assert len(added) == 16
    assert sum(not result.replayed for result in added) == 1
    assert len(gallery) == 1


def test_codes_are_not_added_while_a_snapshot_copies_them(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FAISS moves its codes when it needs room: who copies them meanwhile reads freed memory."""
    gallery = sqlite_place.open()
    enrolled(gallery, new(0), new(1))
    adding, copied = Event(), Event()
    futures: list[Future[object]] = []
    add_codes, codes = FirstStage.add_codes, FirstStage.codes

    def noted_add(stage: FirstStage, new_codes: NDArray[np.uint8]) -> None:
        adding.set()
        add_codes(stage, new_codes)

    with ThreadPoolExecutor(1) as threads:

        def copy_while_another_adds(stage: FirstStage, start: int, stop: int) -> NDArray[np.uint8]:
            futures.append(threads.submit(enrolled, gallery, new(2)))
            assert not adding.wait(0.3)
            copied.set()
            return codes(stage, start, stop)

        monkeypatch.setattr(FirstStage, "add_codes", noted_add)
        monkeypatch.setattr(FirstStage, "codes", copy_while_another_adds)
        gallery.snapshot()
        monkeypatch.setattr(FirstStage, "codes", codes)
        for future in futures:
            future.result()
    assert copied.is_set()
    assert adding.is_set()
    assert gallery.verify().problems == []


def test_what_was_deleted_since_the_search_is_not_reranked(sqlite_place: Place) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, *[new(seed) for seed in range(6)])
    matches = gallery.search(vector(3), top_k=6)
    gallery.delete(matches[2].entry.entry_id)
    left = {match.entry.entry_id for match in matches} - {matches[2].entry.entry_id}
    assert set(ids(gallery.reranked(matches, top_k=6))) == left
    assert gallery.stats().damaged_rows == 0


@pytest.mark.parametrize("gone", [["e2"], ["e0", "e1", "e2", "e3", "e4", "e5"]])
def test_what_is_deleted_while_recall_is_measured_is_no_damage(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch, gone: list[str]
) -> None:
    gallery = sqlite_place.open()
    enrolled(gallery, *[new(seed) for seed in range(6)])
    draw = recall_measure._probes

    def draw_after_a_deletion(*arguments: Any) -> Any:
        for entry_id in gone:
            gallery.delete(entry_id)
        return draw(*arguments)

    monkeypatch.setattr(recall_measure, "_probes", draw_after_a_deletion)
    gallery.upkeep()
    assert gallery.stats().recall_at_10 == 1.0
    assert gallery.stats().damaged_rows == 0
