"""A recipe small enough for tests."""

import pytest
from hypothesis import settings

from training.recipe import TrainingConfig

settings.register_profile("shared machine", deadline=None)
settings.load_profile("shared machine")


@pytest.fixture
def tiny_recipe() -> TrainingConfig:
    """ResNet-18 at 32x32, two persons of four images, two epochs, no bf16."""
    return TrainingConfig.model_validate(
        {
            "network": {"backbone": "resnet18", "image_size": [32, 32], "num_patterns": 2},
            "batch": {"persons": 2, "images_per_person": 4},
            "optimizer": {"learning_rate": 1e-3},
            "schedule": {"epochs": 2, "decay": "cosine"},
            "augmentation": {"pad": 2, "visible_grey": 0.5},
            "precision": "fp32",
        }
    )
