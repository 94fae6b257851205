"""A second generation of vectors: filled beside the first, switched to, gone back from."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.backup.backup import back_up
from gallery_index.backup.restore import restore
from gallery_index.errors import (
    CropNotKeptError,
    GalleryCorruptError,
    GalleryMismatchError,
    ModelChangedError,
    RefreshIncompleteError,
    RefreshStateError,
    StorageFullError,
)
from gallery_index.gallery import Gallery
from gallery_index.records import Added, EntryFilter, NewEntry, OtherGeneration
from gallery_index.verification import verify_directory
from tests.gallery_index.places import (
    DIM,
    DIMS,
    MODEL,
    OTHER_MODEL,
    Place,
    embed,
    enrolled,
    ids,
    new,
    vector,
    vector_by,
)
from tests.gallery_index.scripts import fill, switch

OTHER_DIM = DIMS[OTHER_MODEL]
ANY = EntryFilter()


def filled(place: Place, count: int = 6) -> Gallery:
    """A gallery with entries of two persons."""
    gallery = place.open()
    enrolled(gallery, *[new(n, person_id="ann" if n % 2 else "bob") for n in range(count)])
    return gallery


def embed_other(crops: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
    """Embed crops by the other model."""
    return embed(OTHER_MODEL, crops)


def best(gallery: Gallery, seed: int) -> str:
    """Return the entry most like a seed's crop, asked with the model that is searched."""
    model_id = gallery.model_id
    found = gallery.search(vector_by(model_id, seed), top_k=1, model_id=model_id)
    assert found[0].similarity == pytest.approx(1.0, abs=2e-3)
    assert found[0].entry.model_id == model_id
    return found[0].entry.entry_id


def test_the_first_generation_is_searched_until_the_switch(place: Place) -> None:
    gallery = filled(place)
    begun = gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    assert (begun.model_id, begun.kept, begun.missing, begun.left_out) == (OTHER_MODEL, False, 6, 0)
    assert ids(gallery.missing(4)) == ["e0", "e1", "e2", "e3"]
    assert fill(gallery, 4) == 4
    assert other(gallery).missing == 2
    assert gallery.model_id == MODEL
    assert best(gallery, 5) == "e5"
    switch(gallery)
    assert gallery.model_id == OTHER_MODEL
    assert [best(gallery, n) for n in range(6)] == [f"e{n}" for n in range(6)]
    assert {entry.model_id for entry in gallery.list(ANY).entries} == {OTHER_MODEL}
    assert gallery.stats().model_id == OTHER_MODEL
    assert gallery.stats().embedding_dim == OTHER_DIM
    kept = other(gallery)
    assert (kept.model_id, kept.kept, kept.missing) == (MODEL, True, 0)


def other(gallery: Gallery) -> OtherGeneration:
    """Return the other generation, which must be there."""
    found = gallery.other()
    assert found is not None
    return found


def test_what_is_enrolled_meanwhile_is_in_both(place: Place) -> None:
    gallery = filled(place)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 100)
    gallery.prepare_switch()
    enrolled(gallery, new(6), new(7))
    assert ids(gallery.missing(100)) == ["e6", "e7"]
    assert gallery.switch(embed_other) == OTHER_MODEL
    assert [best(gallery, n) for n in (0, 6, 7)] == ["e0", "e6", "e7"]
    enrolled(gallery, new(8, embedding=vector_by(OTHER_MODEL, 8)))
    assert fill(gallery, 100) == 1
    assert gallery.switch(lambda crops: embed(MODEL, crops)) == MODEL
    assert [best(gallery, n) for n in (0, 6, 8)] == ["e0", "e6", "e8"]


def test_a_deleted_entry_and_an_erased_person_are_gone_from_both(place: Place) -> None:
    gallery = filled(place)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 3)
    gallery.prepare_switch()
    late = {
        entry.row: vector_by(OTHER_MODEL, int(entry.entry_id[1:])) for entry in gallery.missing(9)
    }
    gallery.delete("e0")
    gallery.erase_person("ann")
    assert gallery.fill(late) == 1, "of e3, e4 and e5 only e4 is alive"
    switch(gallery)
    assert ids(gallery.list(ANY).entries) == ["e2", "e4"]
    switch(gallery)
    assert ids(gallery.search(vector(1), top_k=9)) in (["e2", "e4"], ["e4", "e2"])
    gallery.close()
    stored = b"".join(path.read_bytes() for path in place.directory.rglob("vectors.bin"))
    for seed, there in ((2, True), (4, True), (0, False), (3, False), (5, False)):
        for model_id in DIMS:
            assert (row_bytes(vector_by(model_id, seed)) in stored) is there


def row_bytes(direction: NDArray[np.float32]) -> bytes:
    """Return what the vector file holds of a direction."""
    wide = direction.astype(np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32).astype(np.float16).tobytes()


def test_a_refresh_goes_on_after_a_crash_where_it_stood(place: Place) -> None:
    gallery = filled(place)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 4)
    place.crash()
    gallery = place.open()
    assert gallery.model_id == MODEL
    assert ids(gallery.missing(100)) == ["e4", "e5"]
    assert gallery.begin_refresh(OTHER_MODEL, OTHER_DIM).missing == 2
    switch(gallery)
    place.crash()
    gallery = place.open()
    assert (gallery.model_id, other(gallery).kept) == (OTHER_MODEL, True)
    assert best(gallery, 3) == "e3"


def test_a_vector_of_another_model_than_the_one_searched_is_refused(place: Place) -> None:
    gallery = filled(place)
    switch(gallery)
    for call in (
        lambda: gallery.search(vector(1), top_k=1, model_id=MODEL),
        lambda: gallery.reranked([], top_k=1, model_id=MODEL),
        lambda: gallery.add([new(9)], model_id=MODEL),
    ):
        with pytest.raises(ModelChangedError, match=f"of model {OTHER_MODEL} now"):
            call()
    assert len(gallery) == 6


def test_an_enrolment_that_waits_while_the_model_changes_is_refused(sqlite_place: Place) -> None:
    """Its vector was made for the model before: it must not come among the others."""
    gallery = filled(sqlite_place)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 100)
    answers: list[object] = []

    def enrol() -> None:
        try:
            answers.append(gallery.add([new(9)], model_id=MODEL))
        except ModelChangedError as error:
            answers.append(error)

    waiting = threading.Thread(target=enrol)

    def embed_last(crops: Sequence[bytes]) -> list[NDArray[np.float32] | None]:
        waiting.start()  # the switch holds the lock of writes: it waits there
        while not gallery._adds._waiting and waiting.is_alive():
            pass
        return embed_other(crops)

    enrolled(gallery, new(6))
    gallery.switch(embed_last)
    waiting.join()
    assert [type(answer) for answer in answers] == [ModelChangedError]
    assert "e9" not in ids(gallery.list(ANY).entries)


def test_a_vector_that_comes_when_the_index_is_built_already_is_found(place: Place) -> None:
    gallery = filled(place)
    enrolled(gallery, replace(new(7), keep_crop=False), new(8))
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    while fill(gallery, 100):
        pass
    gallery.prepare_switch()
    assert ids(gallery.lost()) == ["e7"]
    with pytest.raises(RefreshIncompleteError, match="e7"):
        gallery.switch(embed_other)
    row = gallery.get("e7").row
    gallery.fill({row: vector_by(OTHER_MODEL, 7)})
    assert gallery.lost() == []
    gallery.switch(embed_other)
    assert [best(gallery, seed) for seed in (5, 7, 8)] == ["e5", "e7", "e8"]
    assert gallery.verify().problems == []


def test_the_building_of_an_index_can_be_ended(place: Place) -> None:
    gallery = filled(place)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    while fill(gallery, 100):
        pass

    def end() -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        gallery.prepare_switch(end)
    gallery.switch(embed_other)
    assert best(gallery, 3) == "e3"


def test_vectors_of_another_model_fill_no_generation(place: Place) -> None:
    gallery = filled(place)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    given = {0: vector_by(OTHER_MODEL, 0)}
    with pytest.raises(RefreshStateError, match=f"of {OTHER_MODEL}, not model-c"):
        gallery.fill(given, model_id="model-c")
    assert other(gallery).missing == 6
    assert gallery.fill(given, model_id=OTHER_MODEL) == 1
    assert other(gallery).missing == 5


def test_one_other_generation_at_a_time(place: Place) -> None:
    gallery = filled(place)
    with pytest.raises(RefreshStateError, match="no other generation"):
        gallery.missing(1)
    with pytest.raises(RefreshStateError, match="of model model-a already"):
        gallery.begin_refresh(MODEL, DIM)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    with pytest.raises(RefreshStateError, match=r"model-b \(24 dimensions\) is being made"):
        gallery.begin_refresh("model-c", 8)
    with pytest.raises(RefreshStateError, match="being made"):
        gallery.begin_refresh(OTHER_MODEL, 8)
    switch(gallery)
    with pytest.raises(RefreshStateError, match=r"model-a \(16 dimensions\) is kept to go back"):
        gallery.begin_refresh("model-c", 8)
    gallery.drop_other()
    assert gallery.begin_refresh("model-c", 8).model_id == "model-c"


def test_a_dropped_generation_leaves_nothing_on_the_disk(place: Place) -> None:
    gallery = filled(place)
    before = sorted(path.name for path in place.directory.iterdir())
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 3)
    assert gallery.drop_other() > 3 * OTHER_DIM
    assert not list(place.directory.rglob("generations/*"))
    switch(gallery)
    gallery.drop_other()
    assert not (place.directory / "vectors.bin").exists()
    assert [best(gallery, n) for n in range(6)] == [f"e{n}" for n in range(6)]
    place.crash()
    assert best(place.open(), 2) == "e2"
    assert before[0] in [path.name for path in place.directory.iterdir()]


def without_crop(*seeds: int) -> list[NewEntry]:
    """New entries whose crops are not to be kept."""
    return [replace(new(seed), keep_crop=False) for seed in seeds]


def test_a_crop_that_is_not_kept_is_nowhere(place: Place) -> None:
    gallery = filled(place, 1)
    (entry,) = enrolled(gallery, *without_crop(1))
    assert not entry.has_crop
    with pytest.raises(CropNotKeptError, match="'e1' was not kept"):
        gallery.crop("e1")
    assert not [
        p for p in place.directory.rglob("*") if p.is_file() and p.read_bytes() == b"crop 1"
    ]
    assert gallery.existing("e1", b"crop 1", "visible") == Added(entry, replayed=True)
    assert ids(gallery.without_crop()) == ["e1"]
    report = gallery.verify()
    assert (report.ok, report.entries, report.crops) == (True, 2, 1)
    place.crash()
    assert ids(place.open().without_crop()) == ["e1"]


def test_a_switch_names_entries_that_it_cannot_have(place: Place) -> None:
    gallery = filled(place, 2)
    enrolled(gallery, *without_crop(2, 3))
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 100)
    assert gallery.missing(100) == []
    assert other(gallery).missing == 2
    with pytest.raises(RefreshIncompleteError, match="'e2', 'e3'") as refused:
        gallery.switch(embed_other)
    assert refused.value.entry_ids == ["e2", "e3"]
    assert gallery.model_id == MODEL
    assert best(gallery, 3) == "e3"


@pytest.mark.parametrize("restart", [False, True])
def test_entries_left_out_are_listed_and_not_found(place: Place, restart: bool) -> None:
    gallery = filled(place, 2)
    rows = [entry.row for entry in enrolled(gallery, *without_crop(2, 3))]
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    assert gallery.give_up(rows, "leave_out") == 2
    switch(gallery)
    if restart:
        place.crash()
        gallery = place.open()
    assert ids(gallery.list(ANY).entries) == ["e0", "e1", "e2", "e3"]
    for query in range(4):
        found = gallery.search(vector_by(OTHER_MODEL, query), top_k=9)
        assert sorted(ids(found)) == ["e0", "e1"]
    assert gallery.verify().problems == []
    gallery.rebuild()
    gallery.upkeep()
    assert gallery.stats().damaged_rows == 0
    gallery.delete("e3")
    switch(gallery)
    assert best(gallery, 2) == "e2"


def test_entries_left_out_are_found_again_after_a_rollback_and_a_restart(place: Place) -> None:
    place.first_stage = "pca"
    gallery = filled(place, 12)
    rows = [entry.row for entry in enrolled(gallery, *without_crop(12, 13))]
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    gallery.give_up(rows, "leave_out")
    switch(gallery)
    place.crash()
    gallery = place.open()
    switch(gallery)
    assert [best(gallery, n) for n in (0, 12, 13)] == ["e0", "e12", "e13"]
    assert gallery.verify().problems == []


def test_entries_given_up_are_erased_if_so_told(place: Place) -> None:
    gallery = filled(place, 2)
    rows = [entry.row for entry in enrolled(gallery, *without_crop(2, 3))]
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    assert gallery.give_up([*rows, 17], "erase") == 2
    switch(gallery)
    assert ids(gallery.list(ANY).entries) == ["e0", "e1"]


def test_a_vector_given_for_the_other_generation_needs_no_crop_later(place: Place) -> None:
    gallery = filled(place, 2)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    (sent,) = without_crop(2)
    sent = replace(sent, other_embedding=vector_by(OTHER_MODEL, 2), other_model_id=OTHER_MODEL)
    (stranger,) = without_crop(3)
    stranger = replace(stranger, other_embedding=vector(3), other_model_id="model-c")
    enrolled(gallery, sent, stranger)
    with pytest.raises(RefreshIncompleteError) as refused:
        gallery.switch(embed_other)
    assert refused.value.entry_ids == ["e3"], "a vector of a third model is of no use"
    gallery.delete("e3")
    switch(gallery)
    assert best(gallery, 2) == "e2"


def test_a_damaged_crop_is_named_and_nothing_is_switched(place: Place) -> None:
    gallery = filled(place, 3)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    place.file("crops/*/0000000001").write_bytes(b"crop 7")
    with pytest.raises(RefreshIncompleteError, match="'e1'"):
        gallery.switch(embed_other)
    assert gallery.model_id == MODEL
    assert gallery.give_up([1], "leave_out") == 1
    switch(gallery)
    assert sorted(ids(gallery.search(vector_by(OTHER_MODEL, 0), top_k=9))) == ["e0", "e2"]


def test_a_crop_that_the_model_cannot_embed_is_named(place: Place) -> None:
    gallery = filled(place, 1)
    enrolled(gallery, new(1, crop=b"no crop"))
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    with pytest.raises(RefreshIncompleteError, match="'e1'"):
        gallery.switch(embed_other)


def test_a_vector_damaged_on_the_disk_is_embedded_again(place: Place) -> None:
    gallery = filled(place)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 100)
    path = place.file("generations/*/vectors.bin")
    data = bytearray(path.read_bytes())
    data[-3] ^= 1  # in the last row
    path.write_bytes(data)
    gallery.prepare_switch()
    assert ids(gallery.missing(100)) == ["e5"]
    switch(gallery)
    assert best(gallery, 5) == "e5"


def test_a_full_disk_switches_nothing(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    gallery = filled(place)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 100)

    def full(path: object, data: bytes) -> None:
        raise StorageFullError(f"no room to write {path}")

    monkeypatch.setattr("gallery_index.generations.pointer.replace_file", full)
    with pytest.raises(StorageFullError):
        gallery.switch(embed_other)
    assert gallery.model_id == MODEL
    assert best(gallery, 5) == "e5"
    with pytest.raises(StorageFullError):
        gallery.add([new(6)])  # what the pointer says on the disk has to be certain first
    monkeypatch.undo()
    enrolled(gallery, new(6))
    place.crash()
    assert best(place.open(), 6) == "e6"


def test_a_backup_of_a_refreshed_gallery_is_of_the_model_searched(place: Place) -> None:
    gallery = filled(place)
    rows = [entry.row for entry in enrolled(gallery, *without_crop(6))]
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    gallery.give_up(rows, "leave_out")
    switch(gallery)
    enrolled(gallery, replace(new(7, embedding=vector_by(OTHER_MODEL, 7)), keep_crop=False))
    backup = place.directory.parent / "backup"
    report = back_up(place.directory, backup, redis_url=place.redis_url)
    assert (report.model_id, report.entries, report.without_vector) == (OTHER_MODEL, 7, 1)
    restored = Place(place.directory.parent / "restored")
    restore(backup, restored.directory)
    assert verify_directory(restored.directory).ok
    again = restored.open(model_id=OTHER_MODEL, dim=OTHER_DIM)
    assert [best(again, n) for n in (0, 5, 7)] == ["e0", "e5", "e7"]
    again.close()


def test_the_directory_is_opened_with_the_model_that_is_searched(place: Place) -> None:
    switch(filled(place))
    place.crash()
    with pytest.raises(GalleryMismatchError, match=f"is of model {OTHER_MODEL}"):
        place.open(model_id=MODEL, dim=DIM)


def test_a_pointer_that_cannot_be_trusted_is_refused(sqlite_place: Place) -> None:
    switch(filled(sqlite_place))
    sqlite_place.crash()
    path = sqlite_place.directory / "generation.json"
    path.write_text(path.read_text().replace("0001", "0002"))
    with pytest.raises(GalleryCorruptError, match=r"generation\.json fails its checksum"):
        sqlite_place.open(model_id=MODEL, dim=DIM)


def test_searches_during_a_switch_are_of_one_model_each(sqlite_place: Place) -> None:
    gallery = filled(sqlite_place, 40)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 100)
    stop, mixed, answered = threading.Event(), list[str](), {MODEL: 0, OTHER_MODEL: 0}

    def ask() -> None:
        seed = 0
        while not stop.is_set():
            seed = (seed + 1) % 40
            model_id = gallery.model_id
            query = vector_by(model_id, seed)
            try:
                (found,) = gallery.search(query, top_k=1, model_id=model_id)
            except ModelChangedError:
                continue
            answered[model_id] += 1
            if (found.entry.entry_id, found.entry.model_id) != (f"e{seed}", model_id):
                mixed.append(f"{found} for {seed} by {model_id}")

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(40):
        switch(gallery)
    stop.set()
    for thread in threads:
        thread.join()
    assert mixed == []
    assert min(answered.values()) > 0


def test_an_erasure_that_missed_the_other_generation_is_found(place: Place) -> None:
    gallery = filled(place)
    gallery.begin_refresh(OTHER_MODEL, OTHER_DIM)
    fill(gallery, 100)
    path = place.file("generations/*/vectors.bin")
    before = path.read_bytes()
    gallery.delete("e2")
    assert gallery.verify().problems == []
    path.write_bytes(before)
    assert gallery.verify().problems == [f"{path}: row 2 was deleted, but not erased"]
