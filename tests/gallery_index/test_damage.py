"""Flipped bits and cut-off files: found and named, or mended; never a wrong or empty answer."""

import itertools
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from gallery_index.errors import GalleryCorruptError, GalleryError
from gallery_index.gallery import Gallery
from gallery_index.records import EntryFilter, GalleryEntry, VerificationReport
from gallery_index.verification import verify_directory
from tests.gallery_index.bases import Base
from tests.gallery_index.places import Place, enrolled, ids, new, vector
from tests.gallery_index.scripts import Operation, add, perform

ANY = EntryFilter()
HEADER = 4096
COUNT = 12
Answer = tuple[list[GalleryEntry], list[tuple[str, float]]]


@pytest.fixture
def filled(sqlite_place: Place) -> Place:
    """A closed gallery of twelve entries, one deleted, with a snapshot."""
    gallery = sqlite_place.open()
    enrolled(gallery, *[new(seed, person_id=f"p{seed % 3}") for seed in range(COUNT)])
    gallery.delete("e5")
    gallery.close()
    return sqlite_place


def flip(path: Path, offset: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1 << bit
    path.write_bytes(data)


def answer(gallery: Gallery) -> Answer:
    found = gallery.search(vector(3), top_k=COUNT)
    for entry in gallery.list(ANY).entries:
        assert gallery.crop(entry.entry_id)[0] == f"crop {entry.entry_id[1:]}".encode()
    return gallery.list(ANY).entries, [(m.entry.entry_id, m.similarity) for m in found]


def verified(place: Place) -> VerificationReport:
    return verify_directory(place.directory)


def is_noticed(place: Place) -> bool:
    try:
        return not verified(place).ok
    except GalleryError:
        return True


def files_of(place: Place) -> Iterator[Path]:
    for path in sorted(place.directory.rglob("*")):
        if path.is_file():
            yield path


def outcome(place: Place) -> Answer | str:
    """Return what the gallery answers, or the refusal, which must name a file or the store."""
    try:
        found: Answer | str = answer(place.open())
    except GalleryError as error:
        found = str(error)
        assert str(place.directory) in found or "metadata store" in found, found
    place.close()
    return found


def harmed(sound: bytes, rng: np.random.Generator) -> Iterator[tuple[str, bytes]]:
    """Ways in which a disk spoils a file: bits, a block of zeros, an end that is missing."""
    for offset in rng.integers(0, len(sound), 16 if len(sound) > 100 else 4):
        spoilt = bytearray(sound)
        spoilt[offset] ^= 1 << int(rng.integers(8))
        yield f"bit at {offset}", bytes(spoilt)
    start = int(rng.integers(len(sound)))
    zeros = bytes(min(512, len(sound) - start))
    yield f"zeros from {start}", sound[:start] + zeros + sound[start + len(zeros) :]
    for size in sorted({0, 1, len(sound) // 2, len(sound) - 1}):
        yield f"cut to {size}", sound[:size]
    yield "longer", sound + b"\0" * 512


def test_no_spoilt_file_changes_an_answer(filled: Place, directory: Path) -> None:
    """Whatever happens to one file, whichever files there are: the same answer or a refusal."""
    expected = outcome(filled)
    rng = np.random.default_rng(1)
    refused: dict[str, int] = {}
    with Base(filled, directory / "sound") as sound:
        sound.keep()
        for path in files_of(filled):
            name = path.relative_to(filled.directory)
            for harm, data in [*harmed(path.read_bytes(), rng), ("missing", None)]:
                path.unlink() if data is None else path.write_bytes(data)
                found = outcome(filled)
                assert found == expected or isinstance(found, str), (name, harm)
                refused[name.parts[0]] = refused.get(name.parts[0], 0) + isinstance(found, str)
                sound.restore()
    # What is derived is never needed; what is not is refused when it is gone.
    assert refused["snapshots"] == refused["lock"] == 0
    assert min(refused[name] for name in ("vectors.bin", "metadata.sqlite", "crops")) > 0


def test_a_damaged_row_is_named_by_verify(filled: Place) -> None:
    row_size = (filled.file("vectors.bin").stat().st_size - HEADER) // COUNT
    flip(filled.file("vectors.bin"), HEADER + 7 * row_size + row_size - 1)
    (problem,) = verified(filled).problems
    assert "vectors.bin: row 7 (entry 'e7') fails its checksum" in problem


def test_a_damaged_row_without_a_snapshot_stops_the_opening_and_is_named(filled: Place) -> None:
    for path in filled.directory.glob("snapshots/*"):
        path.unlink()
    row_size = (filled.file("vectors.bin").stat().st_size - HEADER) // COUNT
    flip(filled.file("vectors.bin"), HEADER + 7 * row_size + row_size - 1)
    with pytest.raises(GalleryCorruptError, match=r"vectors\.bin: row 7 \(entry 'e7'\)"):
        filled.open()


def test_a_damaged_row_is_answered_from_memory_and_mended_by_rebuild(filled: Place) -> None:
    gallery = filled.open()
    before = answer(gallery)
    row_size = gallery._files.vectors.row_size
    flip(filled.file("vectors.bin"), HEADER + 3 * row_size + row_size - 1)
    assert answer(gallery) == before
    assert gallery.stats().damaged_rows == 1
    assert len(gallery.verify().problems) == 1
    assert gallery.rebuild() == 1
    assert gallery.verify().problems == []
    assert gallery.stats().damaged_rows == 0
    assert answer(gallery) == before


@pytest.mark.parametrize("part", [b"e7", b'"p1"', b"visible"])
def test_a_flipped_bit_in_a_record_is_noticed_and_answered_from_the_snapshot(
    filled: Place, part: bytes
) -> None:
    expected = answer(filled.open())
    filled.close()
    path = filled.file("metadata.sqlite")
    sound = path.read_bytes()
    record = sound.index(b'"e7"')
    flip(path, sound.index(part, record))
    assert is_noticed(filled)
    assert answer(filled.open()) == expected
    filled.close()
    for snapshot in filled.directory.glob("snapshots/*"):
        snapshot.unlink()
    with pytest.raises(GalleryCorruptError, match="record of row 7"):
        filled.open()


def test_rows_in_the_wrong_place_are_noticed(filled: Place) -> None:
    path = filled.file("vectors.bin")
    data = bytearray(path.read_bytes())
    size = (len(data) - HEADER) // COUNT
    first, second = HEADER, HEADER + size
    data[first : second + size] = data[second : second + size] + data[first:second]
    path.write_bytes(data)
    problems = verified(filled).problems
    assert any("row 0 (entry 'e0') holds row 1" in text for text in problems)


def test_a_row_that_was_deleted_but_not_erased_is_named(filled: Place) -> None:
    row_size = (filled.file("vectors.bin").stat().st_size - HEADER) // COUNT
    flip(filled.file("vectors.bin"), HEADER + 5 * row_size)
    assert any("row 5 was deleted, but not erased" in text for text in verified(filled).problems)


@pytest.mark.parametrize("harm", ["flip", "unlink"])
def test_a_damaged_or_missing_crop_is_named(filled: Place, harm: str) -> None:
    gallery = filled.open()
    path = filled.file("crops/*/0000000002")
    flip(path, 0) if harm == "flip" else path.unlink()
    with pytest.raises(GalleryCorruptError, match="'e2'"):
        gallery.crop("e2")
    filled.close()
    (problem,) = verified(filled).problems
    assert "'e2'" in problem
    assert path.name in problem


def test_a_damaged_snapshot_is_named_not_used_and_replaced(filled: Place) -> None:
    flip(filled.file("snapshots/*.data"), 200)
    (problem,) = verified(filled).problems
    assert "snapshots" in problem
    gallery = filled.open()
    assert ids(gallery.search(vector(3), top_k=1)) == ["e3"]
    gallery.rebuild()
    gallery.close()
    assert verified(filled).problems == []


def test_a_sound_gallery_verifies_and_is_left_as_it_was(filled: Place) -> None:
    before = {path: path.read_bytes() for path in files_of(filled) if path.name != "lock"}
    report = verified(filled)
    assert report.ok
    assert (report.entries, report.crops, report.rows) == (COUNT - 1, COUNT - 1, COUNT)
    assert report.index_positions == COUNT
    assert {path: path.read_bytes() for path in files_of(filled) if path.name != "lock"} == before


LIFE: list[list[Operation]] = [
    [add(0, 1, 3, person="person-ann"), add(4, 5, person="person-bob")],
    [("delete", "e1"), add(6, person="person-ann")],
    [("change", "e0", "person-eve"), ("erase", "person-bob")],
    [add(7, 8, person="person-bob"), ("rebuild",)],
]


def test_files_of_another_time_are_not_mixed_up_with_these(
    sqlite_place: Place, directory: Path
) -> None:
    """Each file from an earlier or later backup: the answers of its records' time, or a refusal."""
    times: list[Base] = []
    answers: list[Answer | str] = []
    for moment, operations in enumerate(LIFE):
        for operation in [("open",), *operations, ("close",)]:
            perform(sqlite_place, operation)
        times.append(Base(sqlite_place, directory / f"time {moment}"))
        times[-1].keep()
        answers.append(outcome(sqlite_place))
        times[-1].restore()
    assert len({str(found) for found in answers}) == len(LIFE)
    names = {name for time in times for name in time.files()}
    for now, then, name in itertools.product(range(len(LIFE)), range(len(LIFE)), sorted(names)):
        times[now].restore()
        times[then].restore_file(name)
        truth = answers[then if name.name == "metadata.sqlite" else now]
        found = outcome(sqlite_place)
        assert found == truth or isinstance(found, str), (now, then, name)
