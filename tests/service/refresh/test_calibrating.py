"""A calibration by a gallery's own person ids: which entries take part, and by whose vectors."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.errors import ModelChangedError
from gallery_index.gallery import Gallery
from gallery_index.records import Added, NewEntry
from model.calibration import Calibration
from model.errors import CalibrationError
from service.refresh.calibrating import calibrate_gallery

MODEL, OTHER, DIM = "one", "other", 16
PERSONS, CROPS = 30, 3
PAIRS_OF_ONE = CROPS * (CROPS - 1) // 2
MODALITIES = ("visible", "infrared")


@pytest.fixture
def gallery(tmp_path: Path) -> Iterator[Gallery]:
    opened = Gallery.open(tmp_path / "data", model_id=MODEL, embedding_dim=DIM)
    yield opened
    opened.close()


def vector(person: int, number: int) -> NDArray[np.float32]:
    """Return a crop of a person: around the direction that the person has."""
    centre = np.random.default_rng(person).standard_normal(DIM)
    noise = np.random.default_rng([person, number]).standard_normal(DIM)
    made = centre + noise / 2
    return (made / np.linalg.norm(made)).astype(np.float32)


def entry(person: int, number: int, modality: str, camera_id: str | None = None) -> NewEntry:
    entry_id = f"{modality}-{person}-{number}"
    return NewEntry(
        vector(person, number + CROPS * MODALITIES.index(modality)), entry_id.encode(),
        "image/png", modality, entry_id, person_id=f"p{person}", camera_id=camera_id,
    )  # fmt: skip


def add(gallery: Gallery, entries: Sequence[NewEntry]) -> None:
    assert all(isinstance(result, Added) for result in gallery.add(entries))


def fill(gallery: Gallery, cameras: Sequence[str | None] = (None,) * CROPS) -> None:
    """Enrol everybody with a crop a camera in both modalities."""
    add(gallery, [
        entry(person, number, modality, camera)
        for person in range(PERSONS)
        for number, camera in enumerate(cameras)
        for modality in MODALITIES
    ])  # fmt: skip


def pairs(calibration: Calibration, kind: str = "visible-visible") -> tuple[int, int]:
    """Return how many pairs of a kind are of one person, and of two."""
    found = calibration.to_manifest()["kinds"][kind]
    return sum(found["genuine"]["counts"]), sum(found["impostor"]["counts"])


def refreshed(gallery: Gallery) -> None:
    """Give every entry its vector by the other model too: the same."""
    gallery.begin_refresh(OTHER, DIM)
    rows = [each.row for each in gallery.missing(1000)]
    vectors = gallery.vectors(np.array(rows), MODEL).values.astype(np.float32)
    gallery.fill(dict(zip(rows, vectors, strict=True)))


def damage_other(gallery_directory: Path, *directions: NDArray[np.float32]) -> None:
    """Flip a bit of rows of the generation that is not searched: memory has no copy of them."""
    [path] = gallery_directory.glob("generations/*/vectors.bin")
    data = bytearray(path.read_bytes())
    for direction in directions:
        row = direction.astype("<f2").tobytes()
        assert data.count(row) == 1
        data[data.find(row)] ^= 1
    path.write_bytes(data)


def test_every_labelled_crop_is_compared_with_every_other(gallery: Gallery) -> None:
    fill(gallery)
    found = calibrate_gallery(gallery, MODEL)
    of_two = PERSONS * (PERSONS - 1) // 2 * CROPS**2
    assert pairs(found, "visible-visible") == (PERSONS * PAIRS_OF_ONE, of_two)
    assert pairs(found, "infrared-infrared") == (PERSONS * PAIRS_OF_ONE, of_two)
    assert pairs(found, "infrared-visible") == (PERSONS * CROPS**2, 2 * of_two)


def test_pages_and_reads_of_any_size_make_the_same(
    gallery: Gallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(gallery)
    whole = calibrate_gallery(gallery, MODEL).to_manifest()
    monkeypatch.setattr("service.refresh.calibrating.ENTRIES_A_PAGE", 7)
    monkeypatch.setattr("service.refresh.calibrating.ROWS_A_READ", 11)
    assert calibrate_gallery(gallery, MODEL).to_manifest() == whole


def test_entries_without_a_person_take_no_part(gallery: Gallery) -> None:
    fill(gallery)
    before = calibrate_gallery(gallery, MODEL).to_manifest()
    add(gallery, [
        NewEntry(vector(0, number), b"nobody's", "image/png", "visible")
        for number in range(100, 140)
    ])  # fmt: skip
    assert calibrate_gallery(gallery, MODEL).to_manifest() == before


def test_two_crops_of_a_person_by_one_camera_are_no_pair(gallery: Gallery) -> None:
    fill(gallery, cameras=("door", "door", "hall"))
    assert pairs(calibrate_gallery(gallery, MODEL))[0] == PERSONS * 2


def test_a_deleted_entry_takes_no_part(gallery: Gallery) -> None:
    fill(gallery)
    gallery.delete("visible-0-0")
    genuine, impostor = pairs(calibrate_gallery(gallery, MODEL))
    assert genuine == PERSONS * PAIRS_OF_ONE - (CROPS - 1)
    assert impostor == PERSONS * (PERSONS - 1) // 2 * CROPS**2 - (PERSONS - 1) * CROPS


def test_a_damaged_vector_takes_no_part(gallery: Gallery, tmp_path: Path) -> None:
    fill(gallery)
    refreshed(gallery)
    damage_other(tmp_path / "data", vector(3, 0), vector(4, 1))
    assert pairs(calibrate_gallery(gallery, OTHER)) == (
        PERSONS * PAIRS_OF_ONE - 2 * (CROPS - 1),
        # each of the two is missing against all others, but they were one pair of these
        PERSONS * (PERSONS - 1) // 2 * CROPS**2 - 2 * (PERSONS - 1) * CROPS + 1,
    )


def test_the_other_generation_is_calibrated_by_its_own_vectors(gallery: Gallery) -> None:
    fill(gallery)
    gallery.begin_refresh(OTHER, DIM)
    missing = gallery.missing(1000)
    centre = np.eye(DIM, dtype=np.float32)[0]  # by this model all crops are alike
    gallery.fill({each.row: centre for each in missing if each.entry_id != "visible-0-0"})
    found = calibrate_gallery(gallery, OTHER)
    histograms = found.to_manifest()["kinds"]["visible-visible"]
    assert [histograms[of]["counts"] for of in ("genuine", "impostor")] == [
        [PERSONS * PAIRS_OF_ONE - (CROPS - 1)],
        [PERSONS * (PERSONS - 1) // 2 * CROPS**2 - (PERSONS - 1) * CROPS],
    ]
    assert histograms["genuine"]["start"] == 1.0
    assert len(calibrate_gallery(gallery, MODEL).kinds["visible-visible"].genuine.counts) > 1


def test_a_model_that_the_gallery_knows_nothing_of_is_refused(gallery: Gallery) -> None:
    fill(gallery)
    with pytest.raises(ModelChangedError):
        calibrate_gallery(gallery, "stranger")


def test_nobody_labelled_is_refused(gallery: Gallery) -> None:
    add(gallery, [NewEntry(vector(1, 1), b"nobody's", "image/png", "visible")])
    with pytest.raises(CalibrationError, match="no entry of the gallery says whom it shows"):
        calibrate_gallery(gallery, MODEL)


def test_too_few_persons_are_refused_with_what_it_takes(gallery: Gallery) -> None:
    add(
        gallery,
        [entry(person, number, "visible") for person in range(9) for number in range(CROPS)],
    )
    with pytest.raises(CalibrationError) as refused:
        calibrate_gallery(gallery, MODEL)
    assert "of 10 persons, came 27 and 324 of 9 persons" in str(refused.value)


def test_nothing_but_damaged_vectors_is_refused(gallery: Gallery, tmp_path: Path) -> None:
    add(gallery, [entry(person, 0, "visible") for person in range(20)])
    refreshed(gallery)
    damage_other(tmp_path / "data", *[vector(person, 0) for person in range(20)])
    with pytest.raises(
        CalibrationError, match=r"^visible-visible: [^;]* came 0 and 0 of 0 persons"
    ):
        calibrate_gallery(gallery, OTHER)
