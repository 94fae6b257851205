"""Where labels come from that a model is calibrated by, and the calibration that they make.

Pairs in a CSV, a labelled dataset, a gallery's own person ids, embeddings computed anywhere.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gallery_index.backup.source import BackupSource, opened_beside
from gallery_index.records import GalleryEntry
from model.artifact import ModelArtifact
from model.calibrating import calibrate, calibrate_pairs, compared
from model.calibration import Calibration, pair_kind
from model.encoder import Encoder
from model.errors import CalibrationError
from mpanet.embeddings_file import EmbeddingsFile
from mpanet.errors import CommandError
from mpanet.pairs_file import read_pairs
from service.refresh.calibrating import LabelledEntries
from training.artifact_embedding import embed_samples
from training.datasets.readers import DatasetName, read_dataset
from training.datasets.sample import Sample, require

PAIRS_AT_ONCE = 1024
ENTRIES_A_PAGE = 4096
MODALITIES = ("visible", "infrared")


def by_pairs(encoder: Encoder, path: Path) -> Calibration:
    """Calibrate by a CSV of labelled pairs.

    Raises: CommandError, CalibrationError; DatasetError for crops that cannot be read.
    """
    pairs = read_pairs(path)
    crops: dict[Path, Sample] = {}
    for pair in pairs:
        for crop, modality in zip(pair.paths, pair.modalities, strict=True):
            crops.setdefault(crop, Sample(crop, 0, 0, modality))
    embeddings = embed_samples(encoder, list(crops.values()), progress=True)
    row_of = {crop: row for row, crop in enumerate(crops)}
    rows = np.array([[row_of[crop] for crop in pair.paths] for pair in pairs], np.int64)
    similarities = np.concatenate([
        np.einsum("nd,nd->n", embeddings[some[:, 0]], embeddings[some[:, 1]])
        for some in np.array_split(rows, -(-len(rows) // PAIRS_AT_ONCE))
    ])  # fmt: skip
    return calibrate_pairs(
        similarities,
        np.array([pair.same for pair in pairs]),
        [pair_kind(*pair.modalities) for pair in pairs],
        [pair.persons for pair in pairs if pair.persons is not None] or None,
    )


def by_dataset(encoder: Encoder, name: DatasetName, root: Path, split: int) -> Calibration:
    """Calibrate by the test split of a dataset: people whom no training has seen.

    Raises: DatasetError, CalibrationError.
    """
    dataset = read_dataset(name, root, split=split)
    require(dataset.test, "test", root)
    persons = [str(sample.person_id) for sample in dataset.test]
    chosen = compared(persons, [sample.modality for sample in dataset.test])
    samples = [dataset.test[place] for place in chosen.tolist()]
    return calibrate(
        embed_samples(encoder, samples, progress=True),
        [str(sample.person_id) for sample in samples],
        [sample.modality for sample in samples],
        [str(sample.camera_id) for sample in samples],
    )


def by_gallery(artifact: ModelArtifact, directory: Path, redis_url: str | None) -> Calibration:
    """Calibrate by a gallery's own person ids; it may be served meanwhile.

    Raises: CommandError: it is of another model; GalleryError, CalibrationError.
    """
    with opened_beside(directory, redis_url) as source:
        if source.identity.model_id != artifact.model_id:
            raise CommandError(
                f"--gallery: {directory} is searched by model {source.identity.model_id},"
                f" --model is {artifact.model_id}"
            )
        kept = list(source.read(_chosen(source)))
        used = LabelledEntries.of(each.record for each in kept)
        if not used.rows:
            raise CalibrationError(f"{directory}: no entry has a person_id")
        vectors = np.stack([each.vector for each in kept])
        return calibrate(vectors, used.persons, used.modalities, used.cameras)


def _chosen(source: BackupSource) -> list[GalleryEntry]:
    entries: list[GalleryEntry] = []
    row = -1
    while page := source.entries_after(row, ENTRIES_A_PAGE):
        entries += [entry for entry in page if entry.person_id is not None]
        row = page[-1].row
    labelled = LabelledEntries.of(entries)
    return [entries[place] for place in compared(labelled.persons, labelled.modalities).tolist()]


def by_embeddings(artifact: ModelArtifact, path: Path) -> Calibration:
    """Calibrate by an `.npz` of embeddings: of each modality, whole numbers for the persons.

    Arrays `{visible,infrared}_{embeddings,person_ids}` and perhaps `_camera_ids`; one modality may
    be absent.

    Raises: CommandError, CalibrationError.
    """
    with EmbeddingsFile(path) as file:
        there = [modality for modality in MODALITIES if f"{modality}_embeddings" in file.names]
        if not there:
            raise CommandError(
                f"{path}: expected visible_embeddings and infrared_embeddings, or one of them;"
                f" came {', '.join(sorted(file.names)) or 'nothing'}"
            )
        sides = [_side(file, modality, artifact.config.embedding_dim) for modality in there]
    vectors, persons, cameras = zip(*sides, strict=True)
    known = None if any(each is None for each in cameras) else _flat(cameras)
    modalities = np.repeat(there, [len(each) for each in vectors])
    return calibrate(np.concatenate(vectors), _flat(persons), modalities.tolist(), known)


def _side(
    file: EmbeddingsFile, modality: str, embedding_dim: int
) -> tuple[NDArray[np.float32], list[str], list[str] | None]:
    """Read the embeddings of a modality, brought to length one, their persons and cameras."""
    vectors = file.embeddings(modality)
    rows, length = vectors.shape
    what = f"{file.path}: {modality}_embeddings"
    if length != embedding_dim:
        raise CommandError(f"{what}: expected {embedding_dim} columns by this model, came {length}")
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (np.isfinite(norms) & (norms > 0)).all():
        raise CommandError(f"{what}: expected finite rows, none of zeros only")
    persons = file.labels(f"{modality}_person_ids", rows)
    cameras = f"{modality}_camera_ids"
    named = [str(each) for each in file.labels(cameras, rows)] if cameras in file.names else None
    return vectors / norms, [str(each) for each in persons], named


def _flat(parts: Sequence[list[str]]) -> list[str]:
    return [each for part in parts for each in part]
