"""`mpanet calibrate`: what it finds, what it stores, what it refuses."""

import json
import shutil
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.gallery import Gallery
from gallery_index.records import NewEntry
from model.artifact import ModelArtifact
from tests.mpanet.serving import run_mpanet, service
from tests.service.fakes import CONFIG, crop
from tests.service.tiny_artifact import write_tiny_artifact

PERSONS, CROPS = 40, 3
DIM = CONFIG.embedding_dim


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> ModelArtifact:
    return write_tiny_artifact(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def model(made: ModelArtifact, tmp_path: Path) -> Path:
    """A model of the test's own: it is written to."""
    shutil.copytree(made.directory, tmp_path / "model")
    return tmp_path / "model"


def labelled(modality: str, seed: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Crops of persons around a direction each, those of one person some 0.5 alike."""
    persons = np.repeat(np.arange(PERSONS), CROPS)
    centres = np.random.default_rng(1).standard_normal((PERSONS, DIM))
    noise = np.random.default_rng(seed).standard_normal((len(persons), DIM))
    vectors = (centres[persons] + noise).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True), persons


@pytest.fixture
def embeddings(tmp_path: Path) -> Path:
    arrays: dict[str, Any] = {}
    for modality, seed in (("visible", 2), ("infrared", 3)):
        vectors, persons = labelled(modality, seed)
        arrays[f"{modality}_embeddings"], arrays[f"{modality}_person_ids"] = vectors, persons
    np.savez(tmp_path / "embeddings.npz", **arrays)
    return tmp_path / "embeddings.npz"


def calibration_of(model: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((model / "manifest.json").read_text())["calibration"]
    return found


def test_embeddings_calibrate_every_kind_of_pair_and_the_id_stays(
    model: Path, made: ModelArtifact, embeddings: Path
) -> None:
    done = run_mpanet("calibrate", "--model", str(model), "--embeddings", str(embeddings))
    assert done.code == 0, done.err
    assert done.out.startswith(f"model {made.model_id} is calibrated\n")
    assert "false-accept rate 0.01: similarity" in done.out
    assert "false-accept rate 0.0001: not promised; it takes at least" in done.out
    stored = calibration_of(model)
    assert set(stored["kinds"]) == {"visible-visible", "infrared-visible", "infrared-infrared"}
    pairs = stored["kinds"]["infrared-visible"]
    assert sum(pairs["genuine"]["counts"]) == PERSONS * CROPS * CROPS
    assert sum(pairs["impostor"]["counts"]) == PERSONS * (PERSONS - 1) * CROPS * CROPS
    assert ModelArtifact.load(model).model_id == made.model_id


def test_json_is_what_is_stored(model: Path, embeddings: Path) -> None:
    done = run_mpanet("calibrate", "--model", str(model), "--embeddings", str(embeddings), "--json")
    assert json.loads(done.out)["calibration"] == calibration_of(model)


def test_a_service_answers_by_it(model: Path, embeddings: Path, tmp_path: Path) -> None:
    run_mpanet("calibrate", "--model", str(model), "--embeddings", str(embeddings))
    with (
        service(model, tmp_path / "data") as running,
        httpx.Client(base_url=running.url, timeout=60) as http,
    ):
        sent = {"modality": "visible", "person_id": "p"}
        http.post("/gallery", files={"file": crop(1)}, data=sent)
        asked = {"modality": "visible", "max_false_accept_rate": "0.01"}
        alike = http.post("/query", files={"file": crop(1)}, data=asked).json()
        other = http.post("/query", files={"file": crop(2)}, data=asked).json()
    assert alike["matches"][0]["probability"] > 0.9
    assert (alike["unknown"], other["unknown"], other["matches"]) == (False, True, [])


def gallery_of(directory: Path, model_id: str) -> None:
    gallery = Gallery.open(directory, model_id=model_id, embedding_dim=DIM)
    entries = []
    for modality, seed in (("visible", 2), ("infrared", 3)):
        for number, (vector, person) in enumerate(zip(*labelled(modality, seed), strict=True)):
            entries.append(
                NewEntry(
                    vector, f"crop {modality} {number}".encode(), "image/png", modality,
                    person_id=f"p{person}",
                )
            )  # fmt: skip
    entries.append(NewEntry(vector, b"nobody's", "image/png", "visible"))
    gallery.add(entries)
    gallery.close()


def test_a_gallery_calibrates_its_model_by_its_own_persons(
    model: Path, made: ModelArtifact, tmp_path: Path
) -> None:
    gallery_of(tmp_path / "gallery", made.model_id)
    done = run_mpanet("calibrate", "--model", str(model), "--gallery", str(tmp_path / "gallery"))
    assert done.code == 0, done.err
    pairs = calibration_of(model)["kinds"]["visible-visible"]
    assert sum(pairs["genuine"]["counts"]) == PERSONS * CROPS * (CROPS - 1) // 2
    assert pairs["persons"] == PERSONS


def test_a_gallery_of_another_model_is_refused(model: Path, tmp_path: Path) -> None:
    gallery_of(tmp_path / "gallery", "another-model")
    done = run_mpanet("calibrate", "--model", str(model), "--gallery", str(tmp_path / "gallery"))
    assert "is searched by model another-model" in done.error_line()
    assert calibration_of(model) is None


def test_too_few_persons_are_refused_and_nothing_is_stored(model: Path, tmp_path: Path) -> None:
    vectors, persons = labelled("visible", 2)
    few = persons < 5
    np.savez(tmp_path / "few.npz", visible_embeddings=vectors[few], visible_person_ids=persons[few])
    done = run_mpanet("calibrate", "--model", str(model), "--embeddings", str(tmp_path / "few.npz"))
    assert "persons" in done.error_line()
    assert calibration_of(model) is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("path_a,modality_a,path_b,same\n", "modality_b"),
        ("path_a,modality_a,path_b,modality_b,same\n", "no pair follows"),
        ("path_a,modality_a,path_b,modality_b,same\na.png,thermal,b.png,visible,1\n", "thermal"),
        ("path_a,modality_a,path_b,modality_b,same\na.png,visible,b.png,visible,2\n", "same"),
    ],
)
def test_a_file_of_pairs_that_says_nonsense_is_refused(
    model: Path, tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    pairs = str(tmp_path / "pairs.csv")
    assert message in run_mpanet("calibrate", "--model", str(model), "--pairs", pairs).error_line()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--model", "nowhere", "--embeddings", "nothing.npz"),
        ("--model", "demo", "--gallery", "nowhere"),
        ("--model", "demo", "--dataset", "manifest"),
        ("--model", "demo", "--pairs", "p.csv", "--split", "1"),
        ("--model", "demo"),
    ],
    ids=" ".join,
)
def test_what_cannot_be_is_one_line(arguments: tuple[str, ...]) -> None:
    assert run_mpanet("calibrate", *arguments).error_line()
