"""`metrics.csv`: one row an epoch; a resumed run goes on in it."""

import csv
import io
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.callbacks import Callback

from model.durable_files import write_durably
from training.errors import RunError

FIRST = ("epoch", "step")


class EpochLog(Callback):
    """Writes every figure that the module logs; a figure that an epoch lacks is an empty cell.

    Raises:
        RunError: on a resumed run, the file that is there is not this log.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rows: list[dict[str, Any]] = []

    def on_train_start(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Keep the rows of the epochs that a resumed run has behind it."""
        if trainer.is_global_zero and trainer.current_epoch and self._path.is_file():
            self._rows = [row for row in self._read() if int(row["epoch"]) <= trainer.current_epoch]

    def on_train_epoch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule
    ) -> None:
        """Add the epoch's row; epochs count from 1."""
        if not trainer.is_global_zero:
            return
        figures = {name: float(value) for name, value in trainer.logged_metrics.items()}
        place = {"epoch": trainer.current_epoch + 1, "step": trainer.global_step}
        self._rows.append(place | {name: f"{value:.6g}" for name, value in figures.items()})
        self._write()

    def _read(self) -> list[dict[str, Any]]:
        try:
            with self._path.open(encoding="utf-8", newline="") as file:
                rows = list(csv.DictReader(file))
                for row in rows:
                    int(row["epoch"])
        except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
            raise RunError(f"{self._path}: not the log of a run: {error!r}") from error
        return rows

    def _write(self) -> None:
        columns = [*FIRST, *sorted({name for row in self._rows for name in row} - set(FIRST))]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows(self._rows)
        write_durably(self._path, lambda file: file.write(text.getvalue().encode()))
