"""Whole training runs on a few flat crops: what they leave behind, and how they go on."""

import errno
import hashlib
import io
import json
import os
import resource
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from model.network.checkpoint import load_network, save_network
from model.network.mpanet import MPANet
from tests.training.layouts import write_sysu
from training.checkpoints import DurableCheckpoints
from training.data import Batch
from training.datasets.sample import Dataset
from training.datasets.sysu_mm01 import read_sysu_mm01
from training.errors import RunError
from training.metrics import Figures
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


@pytest.mark.parametrize(
    ("colour_blind", "average_decay"), [(False, 0.0), (True, 0.0), (False, 0.5), (True, 0.5)]
)
def test_a_resumed_run_ends_with_the_weights_of_an_uninterrupted_one(
    dataset: Dataset,
    tiny_recipe: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    colour_blind: bool,
    average_decay: float,
) -> None:
    schedule = tiny_recipe.schedule.model_copy(update={"average_decay": average_decay})
    tiny_recipe = tiny_recipe.model_copy(
        update={"colour_blind": colour_blind, "schedule": schedule}
    )
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
    killed = tmp_path / "b" / ".last.ckpt.0a1b"  # half a checkpoint of a process that was killed
    killed.write_bytes(b"half")
    resumed = train(
        dataset, tiny_recipe, tmp_path / "b", recipe="t", seed=3, resume=True, progress=False
    )
    assert not killed.exists()
    expected, found = _weights(whole.last), _weights(resumed.last)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        assert torch.equal(value, found[name]), name
    assert (tmp_path / "b" / "metrics.csv").read_text() == (
        tmp_path / "a" / "metrics.csv"
    ).read_text()
    record = json.loads((tmp_path / "b" / "run.json").read_text())
    assert len(record["resumed"]) == 1


def test_a_run_stopped_in_its_first_epoch_resumes_at_its_start(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from training.module import MPANetModule

    whole = train(dataset, tiny_recipe, tmp_path / "a", recipe="t", seed=3, progress=False)

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(MPANetModule, "training_step", stopped)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tiny_recipe, tmp_path / "b", recipe="t", seed=3, progress=False)
    monkeypatch.undo()
    resumed = train(
        dataset, tiny_recipe, tmp_path / "b", recipe="t", seed=3, resume=True, progress=False
    )
    expected, found = _weights(whole.last), _weights(resumed.last)
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert "resumed" not in json.loads((tmp_path / "b" / "run.json").read_text())


def test_the_running_average_is_what_a_checkpoint_serves(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path
) -> None:
    decay = 0.75
    schedule = tiny_recipe.schedule.model_copy(update={"average_decay": decay})
    averaged = tiny_recipe.model_copy(update={"schedule": schedule})
    plain = train(dataset, tiny_recipe, tmp_path / "a", recipe="t", seed=3, progress=False)
    result = train(dataset, averaged, tmp_path / "b", recipe="t", seed=3, progress=False)
    served = load_network(result.last).network.state_dict()["bn_neck.weight"]
    trained = torch.load(result.last, weights_only=True)["mpanet_trained"]["network.bn_neck.weight"]
    own = load_network(plain.last).network.state_dict()["bn_neck.weight"]
    assert torch.equal(trained, own)  # averaging does not change what is trained
    assert not torch.equal(served, own)


def test_a_run_starts_from_a_file_and_says_which(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path
) -> None:
    torch.manual_seed(9)
    given = MPANet(tiny_recipe.network)
    save_network(tmp_path / "given.ckpt", given)
    still = tiny_recipe.optimizer.model_copy(update={"learning_rate": 1e-12})
    recipe = tiny_recipe.model_copy(
        update={"initialise": str(tmp_path / "given.ckpt"), "optimizer": still}
    )
    result = train(dataset, recipe, tmp_path / "run", recipe="t", seed=3, progress=False)
    found = load_network(result.last).network.backbone.conv1.weight
    np.testing.assert_allclose(found.detach(), given.backbone.conv1.weight.detach(), atol=1e-9)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    content = (tmp_path / "given.ckpt").read_bytes()
    assert record["initialise_sha256"] == hashlib.sha256(content).hexdigest()


def test_weights_that_do_not_fit_leave_no_run(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path
) -> None:
    recipe = tiny_recipe.model_copy(update={"initialise": str(tmp_path / "absent.pth")})
    with pytest.raises(RunError, match=r"absent\.pth, found none"):
        train(dataset, recipe, tmp_path / "run", recipe="t", seed=0, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_disk_that_fills_up_keeps_the_last_good_checkpoint(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The operating system itself refuses: a limit on the size of files stands for a full disk."""
    from training.module import MPANetModule

    step = MPANetModule.training_step
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def full_from_the_second_epoch(module: MPANetModule, batch: Batch, index: int) -> torch.Tensor:
        if module.current_epoch == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
        return step(module, batch, index)

    monkeypatch.setattr(MPANetModule, "training_step", full_from_the_second_epoch)
    try:
        with pytest.raises(RunError, match=r"last\.ckpt: .*EFBIG.*the one before is kept"):
            train(dataset, tiny_recipe, tmp_path / "run", recipe="t", seed=3, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    kept = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert kept["epoch"] == 0
    assert not list((tmp_path / "run").glob(".last*"))
    monkeypatch.undo()
    resumed = train(
        dataset, tiny_recipe, tmp_path / "run", recipe="t", seed=3, resume=True, progress=False
    )
    assert torch.load(resumed.last, weights_only=True)["epoch"] == 1


def test_a_disk_that_fills_up_under_the_logs_is_one_line(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("lightning.pytorch.loggers.TensorBoardLogger.log_metrics", full)
    with pytest.raises(
        RunError, match=r"run: the logs cannot be written \(No space left .*no epoch"
    ):
        train(dataset, tiny_recipe, tmp_path / "run", recipe="t", seed=3, progress=False)


def test_an_interruption_while_a_checkpoint_is_written_is_one_and_keeps_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "last.ckpt"
    path.write_bytes(b"the one before")

    class Stopped(io.FileIO):
        """Ctrl-C in the midst of torch's writing, which complains that it was cut short."""

        def write(self, data: Any) -> int:
            if len(data) > 1000:
                raise KeyboardInterrupt
            return super().write(data)

    monkeypatch.setattr(Path, "open", lambda path, mode: Stopped(path, mode))
    with pytest.raises(KeyboardInterrupt):
        DurableCheckpoints().save_checkpoint({"weights": torch.ones(9_999)}, path)
    assert [file.read_bytes() for file in tmp_path.iterdir()] == [b"the one before"]


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
    config = tiny_recipe.model_dump(mode="json")
    record = {"config": config, "seed": 0, "dataset": "sysu-mm01"}
    record[key] = config | {"precision": "bf16"} if key == "config" else "another"
    (tmp_path / "last.ckpt").write_bytes(b"weights")
    (tmp_path / "run.json").write_text(json.dumps(record))
    with pytest.raises(RunError, match=f"started with another {key}"):
        train(dataset, tiny_recipe, tmp_path, recipe="t", seed=0, resume=True, progress=False)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:100_000])


def _of_three_patterns(path: Path) -> None:
    contents = torch.load(path, weights_only=True)
    weight = contents["state_dict"]["network.spatial_attention.weight"]
    contents["state_dict"]["network.spatial_attention.weight"] = weight[[0, 1, 1]]
    torch.save(contents, path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, r"last\.ckpt is no checkpoint, or a damaged one"),
        (lambda path: path.write_bytes(b""), r"last\.ckpt is no checkpoint, or a damaged one"),
        (lambda path: torch.save([1], path), r"last\.ckpt: expected a state dict .*got a list"),
        (
            lambda path: shutil.copy(path.with_name("best.ckpt"), path),
            r"last\.ckpt: .*no callbacks",
        ),
        (_of_three_patterns, r"network\.spatial_attention\.weight of shape \(2, .*got \(3, "),
    ],
)
def test_a_checkpoint_that_a_run_cannot_go_on_from_is_refused_and_nothing_is_written(
    dataset: Dataset,
    tiny_recipe: TrainingConfig,
    tmp_path: Path,
    damage: Callable[[Path], object],
    message: str,
) -> None:
    last = train(dataset, tiny_recipe, tmp_path / "r", recipe="t", seed=0, progress=False).last
    damage(last)
    before = _files(tmp_path / "r")
    with pytest.raises(RunError, match=message):
        train(dataset, tiny_recipe, tmp_path / "r", recipe="t", seed=0, resume=True, progress=False)
    assert _files(tmp_path / "r") == before


def _files(folder: Path) -> dict[str, str]:
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("place", ["here", "there"])
def test_a_resumed_run_keeps_its_best_weights_until_better_ones_come_also_where_it_was_moved(
    dataset: Dataset,
    tiny_recipe: TrainingConfig,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:
    from training.module import MPANetModule

    step, validate = MPANetModule.training_step, MPANetModule.validate_retrieval
    best_map = {0: 90.0, 1: 20.0}

    def validated(module: MPANetModule) -> Figures:
        return replace(validate(module), mAP=best_map[module.current_epoch])

    def interrupted(module: MPANetModule, batch: Batch, index: int) -> torch.Tensor:
        if module.current_epoch == 1:
            raise KeyboardInterrupt
        return step(module, batch, index)

    monkeypatch.setattr(MPANetModule, "validate_retrieval", validated)
    monkeypatch.setattr(MPANetModule, "training_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(dataset, tiny_recipe, tmp_path / "here", recipe="t", seed=3, progress=False)
    monkeypatch.setattr(MPANetModule, "training_step", step)
    (tmp_path / "here").rename(tmp_path / place)
    resumed = train(
        dataset, tiny_recipe, tmp_path / place, recipe="t", seed=3, resume=True, progress=False
    )
    assert resumed.best == tmp_path / place / "best.ckpt"
    assert torch.load(resumed.best, weights_only=True)["epoch"] == 0
    assert torch.load(resumed.last, weights_only=True)["epoch"] == 1
    assert [path.name for path in tmp_path.glob("*here")] == [place]


def test_more_devices_than_gpus_are_refused(
    dataset: Dataset, tiny_recipe: TrainingConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(RunError, match="at most 2 devices, the GPUs of this machine, got 3"):
        train(dataset, tiny_recipe, tmp_path / "run", recipe="t", seed=0, devices=3, progress=False)
