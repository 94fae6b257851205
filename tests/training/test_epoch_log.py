"""`metrics.csv` through real runs is in test_run; here, what it refuses."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from training.epoch_log import EpochLog
from training.errors import RunError


def _trainer(epoch: int, **figures: float) -> Any:
    return SimpleNamespace(
        is_global_zero=True, current_epoch=epoch, global_step=10 * epoch, logged_metrics=figures
    )


def test_a_figure_that_appears_later_gets_a_column_and_empty_cells_before(tmp_path: Path) -> None:
    log = EpochLog(tmp_path / "metrics.csv")
    module: Any = None
    log.on_train_start(_trainer(0), module)
    log.on_train_epoch_end(_trainer(0, loss=2.5), module)
    log.on_train_epoch_end(_trainer(1, loss=1.5, val_mAP=40.0), module)
    lines = (tmp_path / "metrics.csv").read_text().splitlines()
    assert lines == ["epoch,step,loss,val_mAP", "1,0,2.5,", "2,10,1.5,40"]


def test_a_resumed_run_replaces_the_rows_of_the_epochs_that_it_repeats(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("epoch,step,loss\n1,10,2.5\n2,20,1.5\n3,30,1.25\n")
    log = EpochLog(path)
    module: Any = None
    log.on_train_start(_trainer(2), module)
    log.on_train_epoch_end(_trainer(2, loss=1.0), module)
    assert path.read_text().splitlines()[1:] == ["1,10,2.5", "2,20,1.5", "3,20,1"]


@pytest.mark.parametrize("text", ["", "epoch,loss\nfirst,2\n", "loss\n1\n"])
def test_a_file_that_is_no_log_is_named_and_left(text: str, tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(text)
    if not text:  # an empty log has no rows to keep
        EpochLog(path).on_train_start(_trainer(2), None)  # type: ignore[arg-type]
        return
    with pytest.raises(RunError, match=r"metrics\.csv: not the log of a run"):
        EpochLog(path).on_train_start(_trainer(2), None)  # type: ignore[arg-type]
    assert path.read_text() == text
