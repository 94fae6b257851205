"""Training, recall, compaction, snapshots and expiry, when they are due and while others write."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from threading import Event
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.errors import GalleryCorruptError
from gallery_index.files.vector_file import VectorFile
from gallery_index.gallery import Gallery
from gallery_index.index import recall_measure
from gallery_index.index.local_index import LocalIndex
from gallery_index.index.quantizers import PcaInt8, Quantizer
from gallery_index.index.recall import Probe
from gallery_index.index.recall_record import Recall
from gallery_index.index_care import IndexCare
from gallery_index.records import EntryFilter, NewEntry
from gallery_index.upkeep import UpkeepPolicy
from tests.gallery_index.embeddings import structured
from tests.gallery_index.places import BruteForce, Place, enrolled, ids, new

ANY = EntryFilter()
DIM = 256
COUNT = 600
VECTORS = structured(COUNT + 200, DIM).astype(np.float32)
QUERIES = structured(20, DIM, seed=5).astype(np.float32)
# Nothing but what a test is about is ever due.
QUIET = UpkeepPolicy(
    exact_below=10**9, snapshot_rows=10**9, snapshot_age_s=1e9, dead_places=10**9, recall_growth=1e9
)
TRAINED = replace(QUIET, exact_below=500, recall_target=0.0)


def numbered(*numbers: int) -> list[NewEntry]:
    return [
        new(
            number,
            embedding=VECTORS[number],
            person_id=f"p{number % 50}",
            modality="infrared" if number % 3 else "visible",
        )
        for number in numbers
    ]


def filled(place: Place, policy: UpkeepPolicy, count: int = COUNT) -> Gallery:
    gallery = place.open(dim=DIM, policy=policy)
    enrolled(gallery, *numbered(*range(count)))
    return gallery


def is_right(gallery: Gallery) -> bool:
    """Whether searches are what brute force over the listed entries says."""
    oracle = BruteForce()
    cursor: str | None = None
    while True:
        page = gallery.list(ANY, limit=1000, cursor=cursor)
        for entry in page.entries:
            oracle.add(entry, VECTORS[int(entry.entry_id[1:])])
        cursor = page.next_cursor
        if cursor is None:
            break
    assert len(oracle.entries) == len(gallery)
    return all(
        ids(gallery.search(query, top_k=10, group_by=group_by))
        == [entry_id for entry_id, _ in oracle.search(query, 10, ANY, group_by)]
        for query in QUERIES[:5]
        for group_by in ("entry", "person")
    )


def test_a_gallery_is_searched_exactly_until_it_has_so_many_entries(sqlite_place: Place) -> None:
    gallery = filled(sqlite_place, TRAINED, 499)
    gallery.upkeep()
    assert gallery.stats().index_kind == "exact-fp16"
    enrolled(gallery, *numbered(499))
    gallery.upkeep()
    assert gallery.stats().index_kind == "pca128-int8"
    assert gallery.stats().index_bytes < 500 * (2 * DIM)
    assert is_right(gallery)
    enrolled(gallery, *numbered(*range(500, 550)))
    assert is_right(gallery)
    assert gallery.verify().problems == []


def test_a_trained_first_stage_is_in_the_next_snapshot_and_read_from_it(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(sqlite_place, TRAINED)
    gallery.snapshot()
    gallery.upkeep()
    assert gallery.stats().index_kind == "pca128-int8"
    codes = gallery._memory.index.stage.codes(0, COUNT)
    sqlite_place.close()

    def unread(file: VectorFile, rows: NDArray[np.int64]) -> None:
        raise AssertionError("a row was read")

    with monkeypatch.context() as patched:
        patched.setattr(VectorFile, "read", unread)
        gallery = sqlite_place.open(dim=DIM, policy=TRAINED)
    assert gallery.stats().index_kind == "pca128-int8"
    assert np.array_equal(gallery._memory.index.stage.codes(0, COUNT), codes)
    assert is_right(gallery)


def kinds_trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    train, kinds = IndexCare.train, list[str]()

    def noted(care: IndexCare, quantizer: Quantizer) -> None:
        kinds.append(quantizer.kind)
        train(care, quantizer)

    monkeypatch.setattr(IndexCare, "train", noted)
    return kinds


@pytest.mark.parametrize(
    ("recalls", "expected"),
    [
        ([1.0], ["pca128-int8"]),
        ([0.98, 0.99], ["pca128-int8", "hr-rabitq"]),
        ([0.5, 0.9, 0.98], ["pca128-int8", "hr-rabitq", "exact-fp16"]),
    ],
)
def test_recall_below_the_target_leads_to_a_finer_first_stage(
    sqlite_place: Place,
    monkeypatch: pytest.MonkeyPatch,
    recalls: list[float],
    expected: list[str],
) -> None:
    left = list(recalls)

    def measured(index: Any, on_block: object) -> Recall:
        return Recall(left.pop(0), COUNT, datetime.now(UTC))

    monkeypatch.setattr("gallery_index.index_care.measured", measured)
    kinds = kinds_trained(monkeypatch)
    gallery = filled(sqlite_place, replace(TRAINED, recall_target=0.99))
    gallery.upkeep()
    assert kinds == expected
    assert gallery.stats().index_kind == expected[-1]
    assert gallery.stats().recall_at_10 == recalls[-1]
    assert gallery.stats().recall_target == 0.99
    assert is_right(gallery)
    gallery.upkeep()  # what has been settled is not begun anew
    assert kinds == expected


def test_a_snapshot_that_is_due_does_not_wait_for_a_measurement(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(sqlite_place, replace(TRAINED, snapshot_rows=50))
    left: list[int] = []

    def measured(index: Any, on_block: Callable[[], None]) -> Recall:
        enrolled(gallery, *numbered(*range(COUNT, COUNT + 60)))
        on_block()
        left.append(gallery.stats().rows_since_snapshot)
        return Recall(1.0, COUNT, datetime.now(UTC))

    monkeypatch.setattr("gallery_index.index_care.measured", measured)
    gallery.upkeep()
    assert left == [0]


def test_a_first_stage_that_says_nothing_is_found_out_and_replaced(sqlite_place: Place) -> None:
    gallery = filled(sqlite_place, replace(TRAINED, recall_target=0.99))
    basis = np.zeros((8, DIM), np.float32)
    basis[np.arange(8), np.arange(8)] = 1
    gallery._care.train(PcaInt8(basis, np.full(8, 0.05, np.float32), reach=0.0))
    assert not is_right(gallery)
    recall = gallery._care.measure_recall().value
    assert recall is not None
    assert recall < 0.9
    gallery._care.reach_recall()
    assert gallery.stats().index_kind != "pca8-int8"
    assert (gallery.stats().recall_at_10 or 0) >= 0.99
    assert is_right(gallery)


def test_recall_is_measured_again_when_the_gallery_has_grown(sqlite_place: Place) -> None:
    gallery = filled(sqlite_place, replace(QUIET, recall_growth=1.5), 100)
    gallery.upkeep()
    assert gallery.stats().recall_at_10 == 1.0
    first = gallery.stats().recall_measured_at
    assert first is not None
    enrolled(gallery, *numbered(*range(100, 149)))
    gallery.upkeep()
    assert gallery.stats().recall_measured_at == first
    enrolled(gallery, *numbered(149))
    gallery.upkeep()
    again = gallery.stats().recall_measured_at
    assert again is not None
    assert again > first


def test_an_empty_gallery_has_nothing_due(sqlite_place: Place) -> None:
    gallery = sqlite_place.open(policy=UpkeepPolicy(exact_below=0, recall_growth=1.0))
    gallery.upkeep()
    assert gallery.stats().index_kind == "exact-fp16"


def test_what_is_written_during_a_training_is_right_after_it(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(sqlite_place, replace(TRAINED, exact_below=560))  # more would train at once
    gallery.delete("e7")
    codes_of = IndexCare._codes
    calls: list[int] = []

    def meanwhile(care: IndexCare, quantizer: Quantizer, rows: NDArray[np.int64]) -> Any:
        calls.append(len(rows))
        if len(calls) == 1:  # rows that are about to be read
            gallery.delete("e3")
            enrolled(gallery, *numbered(*range(600, 640)))
        codes = codes_of(care, quantizer, rows)
        if len(calls) == 1:  # rows that have been read
            gallery.delete("e4")
            gallery.delete("e600")
            gallery.delete("e550")
            enrolled(gallery, *numbered(3))
        return codes

    monkeypatch.setattr(IndexCare, "_codes", meanwhile)
    gallery.upkeep()
    assert len(calls) == 3
    index = gallery._memory.index
    assert gallery.stats().index_kind == "pca128-int8"
    assert len(index.stage) == index.table.positions == COUNT + 41
    dead = np.array([7, 3, 4, 600, 550])
    assert not index.stage.codes_at(dead).any()
    alive = np.setdiff1d(np.arange(COUNT + 41), dead)
    vectors = index.file.read(alive).vectors
    assert np.array_equal(index.stage.codes_at(alive), index.stage.quantizer.encode(vectors))
    assert is_right(gallery)
    assert gallery.verify().problems == []


def test_a_damaged_row_ends_a_training_and_changes_nothing(sqlite_place: Place) -> None:
    gallery = filled(sqlite_place, TRAINED)
    path = sqlite_place.file("vectors.bin")
    data = bytearray(path.read_bytes())
    data[4096 + 301 * gallery._files.vectors.row_size - 1] ^= 1
    path.write_bytes(data)
    with pytest.raises(GalleryCorruptError, match=r"row 300 \(entry 'e300'\)"):
        gallery.upkeep()
    assert gallery.stats().index_kind == "exact-fp16"
    assert is_right(gallery)
    assert gallery.rebuild() == 1
    assert gallery.stats().index_kind == "pca128-int8"
    assert is_right(gallery)
    assert gallery.verify().problems == []


@pytest.mark.parametrize("policy", [QUIET, TRAINED], ids=["exact", "compressed"])
def test_a_compaction_drops_dead_places_and_no_answer(
    sqlite_place: Place, policy: UpkeepPolicy
) -> None:
    policy = replace(policy, dead_share=0.25, dead_places=10)
    gallery = filled(sqlite_place, policy)
    gallery.upkeep()
    for number in range(0, 149 * 4, 4):
        gallery.delete(f"e{number}")
    gallery.upkeep()
    assert gallery.stats().dead_positions == 149  # less than a quarter
    gallery.delete("e1")
    gallery.upkeep()
    stats, index = gallery.stats(), gallery._memory.index
    assert (stats.dead_positions, stats.entries, stats.rows) == (0, 450, COUNT)
    assert len(index.stage) == index.table.positions == 450
    assert is_right(gallery)
    enrolled(gallery, *numbered(*range(600, 610)))
    gallery.delete("e605")
    gallery.delete("e2")
    assert is_right(gallery)
    assert gallery.verify().problems == []
    sqlite_place.close()
    gallery = sqlite_place.open(dim=DIM, policy=policy)
    assert is_right(gallery)
    assert gallery.verify().problems == []


def test_few_dead_places_are_not_worth_a_compaction(sqlite_place: Place) -> None:
    gallery = filled(sqlite_place, replace(QUIET, dead_share=0.25, dead_places=10), 20)
    for number in range(9):
        gallery.delete(f"e{number}")
    gallery.upkeep()
    assert gallery.stats().dead_positions == 9
    gallery.delete("e9")
    gallery.upkeep()
    assert gallery.stats().dead_positions == 0


def test_a_snapshot_from_before_a_compaction_still_serves(sqlite_place: Place) -> None:
    gallery = filled(sqlite_place, replace(QUIET, dead_share=0.1, dead_places=1), 100)
    gallery.snapshot()
    for number in range(20):
        gallery.delete(f"e{number}")
    gallery._care.compact()
    enrolled(gallery, *numbered(100, 5))
    sqlite_place.crash()
    gallery = sqlite_place.open(dim=DIM, policy=QUIET)
    assert is_right(gallery)
    assert len(gallery) == 82
    assert gallery.verify().problems == []


def manifests(gallery: Gallery) -> int:
    return len(gallery._files.snapshots.manifests())


def test_a_snapshot_is_due_after_so_many_rows(sqlite_place: Place) -> None:
    gallery = filled(sqlite_place, replace(QUIET, snapshot_rows=10), 1)
    gallery.upkeep()
    assert manifests(gallery) == 1  # there was none
    enrolled(gallery, *numbered(*range(1, 10)))
    gallery.upkeep()
    assert (manifests(gallery), gallery.stats().rows_since_snapshot) == (1, 9)
    enrolled(gallery, *numbered(10))
    gallery.upkeep()
    assert (manifests(gallery), gallery.stats().rows_since_snapshot) == (2, 0)


def test_a_snapshot_is_due_some_time_after_a_change_but_not_without_one(
    sqlite_place: Place,
) -> None:
    gallery = filled(sqlite_place, replace(QUIET, snapshot_age_s=1000.0), 1)
    gallery.upkeep()
    enrolled(gallery, *numbered(1))
    gallery.upkeep()
    assert manifests(gallery) == 1
    gallery._memory.snapshot_at = datetime.now(UTC).timestamp() - 1001
    gallery.upkeep()
    assert manifests(gallery) == 2
    gallery._memory.snapshot_at = datetime.now(UTC).timestamp() - 1001
    head = gallery._files.snapshots.manifests()[0]
    gallery.upkeep()
    assert gallery._files.snapshots.manifests()[0] == head


def test_history_is_forgotten_up_to_the_oldest_snapshot_that_is_kept(place: Place) -> None:
    gallery = place.open()
    heads = []
    for number in range(4):
        enrolled(gallery, new(number))
        heads.append(gallery._files.store.last_head)
        gallery.snapshot()
    known = [gallery._files.store.changes_since(head) is not None for head in heads]
    assert known == [False, False, True, True]


def test_entries_expire_by_their_capture_in_batches_and_leave_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gallery_index.gallery._EXPIRED_AT_ONCE", 2)
    now = datetime.now(UTC)
    ages = {0: 31, 1: 29, 2: None, 3: 400, 4: 31, 5: 31, 6: 0, 7: 31}
    gallery = place.open(policy=replace(QUIET, retention_days=30))
    enrolled(
        gallery,
        *[
            new(number, captured_at=None if age is None else now - timedelta(days=age))
            for number, age in ages.items()
        ],
    )
    gallery.upkeep()
    assert ids(gallery.list(ANY).entries) == ["e1", "e2", "e6"]
    assert gallery._files.crops.rows() == {1, 2, 6}
    assert [gallery._files.vectors.is_erased(row) for row in range(8)] == [
        True, False, False, True, True, True, False, True,
    ]  # fmt: skip
    assert gallery.verify().problems == []


def test_without_a_retention_time_nothing_expires(sqlite_place: Place) -> None:
    gallery = sqlite_place.open(policy=QUIET)
    enrolled(gallery, new(0, captured_at=datetime(1970, 1, 1, tzinfo=UTC)))
    gallery.upkeep()
    assert len(gallery) == 1


def test_searches_are_right_throughout_training_compaction_and_snapshots(
    sqlite_place: Place,
) -> None:
    gallery = filled(sqlite_place, replace(TRAINED, dead_share=0.0, dead_places=1))
    over = Event()

    def read(number: int) -> int:
        searches = 0
        while not over.is_set():
            best, *_ = gallery.search(VECTORS[number], top_k=5, group_by="person")
            assert best.entry.entry_id == f"e{number}"
            found = gallery.search(VECTORS[number], top_k=3, filter=EntryFilter(person_id="p9"))
            assert {match.entry.person_id for match in found} == {"p9"}
            searches += 1
        return searches

    def write() -> None:
        for number in range(600, 660):
            enrolled(gallery, *numbered(number))
            gallery.delete(f"e{number - 300}")

    with ThreadPoolExecutor(3) as threads:
        readers = [threads.submit(read, number) for number in (3, 5)]
        writer = threads.submit(write)
        try:
            for _ in range(4):
                gallery._care.train_anew()
                gallery.upkeep()
                gallery._care.compact()
                gallery.snapshot()
            writer.result()
        finally:
            over.set()
        assert all(reader.result() > 0 for reader in readers)
    assert len(gallery) == COUNT
    assert is_right(gallery)
    assert gallery.verify().problems == []


def test_entries_that_come_while_recall_is_measured_are_not_held_against_it(
    sqlite_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = filled(sqlite_place, QUIET, 100)
    answer = recall_measure._answer
    asked: list[int] = []

    def meanwhile(index: LocalIndex, probe: Probe, *rest: int) -> NDArray[np.int64]:
        if not asked:  # ten copies of the probe come before all that was there
            copies = [new(number, embedding=probe.vector) for number in range(1000, 1010)]
            enrolled(gallery, *copies)
            gallery.delete("e50")
        asked.append(len(gallery))
        return answer(index, probe, *rest)

    monkeypatch.setattr(recall_measure, "_answer", meanwhile)
    assert gallery._care.measure_recall().value == 1.0
    assert set(asked) == {109}
