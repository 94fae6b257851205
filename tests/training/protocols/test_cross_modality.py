"""Own cameras: every image of one modality against every one of the other."""

import numpy as np

from training.protocols.contest import Labels
from training.protocols.cross_modality import cross_modality
from training.protocols.embedded import embedded
from training.protocols.ranking import rank


def test_the_same_person_by_the_same_camera_is_skipped() -> None:
    """Camera 1 records both modalities: its own visible image of the person does not count."""
    query = Labels(np.array([1]), np.array([1]), np.array([0]))
    gallery = Labels(np.array([1, 2, 1]), np.array([1, 1, 2]), np.arange(3))
    vectors = np.array([[1, 0], [0.8, 0.6], [0, 1]], dtype=np.float32)
    (outcome,) = rank(
        cross_modality(query, gallery, direction="infrared-to-visible"),
        embedded(np.array([[1, 0]], dtype=np.float32), "query"),
        embedded(vectors, "gallery"),
    )
    (figures,) = outcome.trials
    assert (figures.rank1, figures.rank5, figures.mAP, figures.mINP) == (0.0, 100.0, 50.0, 50.0)


def test_the_curve_is_over_all_persons() -> None:
    query = Labels(np.array([1, 2]), np.array([1, 1]), np.array([0, 0]))
    gallery = Labels(np.array([1, 2, 3]), np.array([2, 2, 2]), np.arange(3))
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], dtype=np.float32)
    (outcome,) = rank(
        cross_modality(query, gallery, direction="infrared-to-visible"),
        embedded(np.array([[1, 0], [0, 1]], dtype=np.float32), "query"),
        embedded(vectors, "gallery"),
    )
    assert outcome.cmc.tolist() == [50.0, 100.0, 100.0]
