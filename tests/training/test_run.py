"""Whole training runs on a few flat crops: what they leave behind, and how they go on."""

import json
from pathlib import Path

import pytest
import torch

from model.network.checkpoint import load_network
from tests.training.layouts import write_sysu
from training.datasets.sample import Dataset
from training.datasets.sysu_mm01 import read_sysu_mm01
from training.errors import RunError
from training.recipe import TrainingConfig
from training.run import train


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return read_sysu_mm01(
        write_sysu(tmp_path / "sysu", train=[10, 90, 170], val=[40, 200], test=[250])
    )


def _weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert isinstance(state, dict)
    return state


def test_a_run_leaves_weights_that_export_reads_and_a_record_of_itself(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    result = train(dataset, tiny_recipe, out, recipe="tiny", seed=3, progress=False)
    loaded = load_network(result.last)
    assert loaded.kind == "lightning"
    assert loaded.network.config == tiny_recipe.network
    assert loaded.preprocessing == tiny_recipe.preprocessing
    assert (loaded.source["recipe"], loaded.source["seed"]) == ("tiny", 3)
    record = json.loads((out / "run.json").read_text())
    assert TrainingConfig.model_validate(record["config"]) == tiny_recipe
    assert torch.__version__.startswith(record["environment"]["torch"])
    assert result.best == out / "best.ckpt"
    assert result.val_rank1 is not None
    header = (out / "metrics.csv").read_text().splitlines()[0].split(",")
    assert {"loss", "identity", "center_cluster", "separation", "mutual", "val_mAP"} <= set(header)


@pytest.mark.parametrize("colour_blind", [False, True])
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    dataset: Dataset,
    tiny_recipe: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    colour_blind: bool,
) -> None:
    tiny_recipe = tiny_recipe.model_copy(update={"colour_blind": colour_blind})
    whole = train(dataset, tiny_recipe, tmp_path / "a", recipe="t", seed=3, progress=False)

    from training.module import MPANetModule

    step = MPANetModule.training_step

    def interrupted(module: MPANetModule, batch: object, index: int) -> torch.Tensor:
        if module.current_epoch == 1:
            raise KeyboardInterrupt
        return step(module, batch, index)  # type: ignore[arg-type]

    monkeypatch.setattr(MPANetModule, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tiny_recipe, tmp_path / "b", recipe="t", seed=3, progress=False)
    monkeypatch.setattr(MPANetModule, "training_step", step)
    resumed = train(
        dataset, tiny_recipe, tmp_path / "b", recipe="t", seed=3, resume=True, progress=False
    )
    expected, found = _weights(whole.last), _weights(resumed.last)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name


def test_a_folder_that_holds_a_run_is_not_overwritten(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path
) -> None:
    (tmp_path / "last.ckpt").write_bytes(b"weights")
    with pytest.raises(RunError, match="holds a run already"):
        train(dataset, tiny_recipe, tmp_path, recipe="t", seed=0, progress=False)
    assert (tmp_path / "last.ckpt").read_bytes() == b"weights"


def test_there_must_be_something_to_resume(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"last\.ckpt: nothing to resume"):
        train(dataset, tiny_recipe, tmp_path, recipe="t", seed=0, resume=True, progress=False)


@pytest.mark.parametrize("key", ["config", "seed", "samples"])
def test_a_run_is_not_resumed_with_another_recipe_seed_or_training_set(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path, key: str
) -> None:
    record = {"config": tiny_recipe.model_dump(mode="json"), "seed": 0, "dataset": "sysu-mm01"}
    record[key] = "another"
    (tmp_path / "last.ckpt").write_bytes(b"weights")
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=f"started with another {key}"):
        train(dataset, tiny_recipe, tmp_path, recipe="t", seed=0, resume=True, progress=False)
