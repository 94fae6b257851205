"""Whether a model directory may be served: its files, its manifest, and one inference of its own.

The inference runs in a process of its own (`artifact_trial` says why), which is killed when its
time is over: whatever a graph does, the service goes on.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from model.artifact import MANIFEST_NAME, ONNX_NAME, ModelArtifact
from model.errors import ArtifactError
from service.errors import InvalidArtifactError, ShuttingDownError

RECORD_NAME = "published.json"
"""What a registry keeps beside the files of an artifact."""
FILES = frozenset({ONNX_NAME, MANIFEST_NAME, RECORD_NAME})
MAX_CROP_S = 10.0
MAX_REASON = 1000


class Trials:
    """Runs trials, one at a time, so that they do not slow one another into their timeouts."""

    def __init__(self, *, provider: str, timeout_s: float, max_crop_s: float = MAX_CROP_S) -> None:
        """`timeout_s` bounds one trial, its start included; `max_crop_s` one crop alone."""
        self._provider = provider
        self._timeout_s = timeout_s
        self._max_crop_s = max_crop_s
        self._turn = threading.Lock()
        self._running: subprocess.Popen[str] | None = None
        self._stopped = False

    def run(self, directory: Path) -> None:
        """Run the model. Raises: InvalidArtifactError, ShuttingDownError."""
        with self._turn, self._started(directory) as process:
            try:
                said, complaints = process.communicate(timeout=self._timeout_s)
            except subprocess.TimeoutExpired:
                raise InvalidArtifactError(
                    f"the model had not embedded three images after {self._timeout_s:g} s"
                ) from None
        if self._stopped:
            raise ShuttingDownError("the service is stopping; the model was not tried to its end")
        refused = _verdict(process.returncode, said, complaints)
        if refused is not None:
            raise InvalidArtifactError(refused)

    def stop(self) -> None:
        """End the trial that runs, and let none begin."""
        self._stopped = True
        if (running := self._running) is not None:
            running.kill()

    @contextmanager
    def _started(self, directory: Path) -> Iterator[subprocess.Popen[str]]:
        arguments = [str(directory), self._provider, str(self._timeout_s), str(self._max_crop_s)]
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.refresh.artifact_trial", *arguments],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        )
        self._running = process
        if self._stopped:
            process.kill()
        with process:
            try:
                yield process
            finally:
                process.kill()  # one that has ended already takes no harm
                self._running = None


def verify_artifact(directory: Path, trials: Trials) -> ModelArtifact:
    """Check a model directory as far as can be known before it is served; seconds, not minutes.

    Its hashes, manifest and preprocessing; that nothing but these files belongs to it; and that the
    model runs: dimensions, finite embeddings of length 1, an image alone as beside another.

    Raises: InvalidArtifactError with the reason, ShuttingDownError.
    """
    artifact = read_artifact(directory)
    try_artifact(artifact, trials)
    return artifact


def try_artifact(artifact: ModelArtifact, trials: Trials) -> None:
    """Check what `read_artifact` does not. Raises: as `verify_artifact`."""
    directory = artifact.directory
    _check_files(directory)
    _check_preprocessing(artifact)
    try:
        trials.run(directory)
    except InvalidArtifactError as error:
        raise InvalidArtifactError(_without(directory, str(error))) from None


def read_artifact(directory: Path) -> ModelArtifact:
    """Read a model directory and check its hashes. Raises: InvalidArtifactError."""
    try:
        return ModelArtifact.load(directory)
    except ArtifactError as error:
        raise InvalidArtifactError(_without(directory, str(error))) from None


def _check_files(directory: Path) -> None:
    """A graph may keep weights in other files, which its hash says nothing about."""
    others = sorted(
        path.name
        for path in directory.iterdir()
        if path.name not in FILES and not path.name.startswith(".")
    )
    if others:
        raise InvalidArtifactError(
            f"expected {ONNX_NAME} and {MANIFEST_NAME} alone, came also {', '.join(others)}"
        )


def _check_preprocessing(artifact: ModelArtifact) -> None:
    """Mean and std of values from 0 to 255 are the usual mistake; every image would look alike."""
    preprocessing = artifact.preprocessing
    for name, values, low in (("mean", preprocessing.mean, -1e-9), ("std", preprocessing.std, 0)):
        if not all(low < value <= 1 for value in values):
            raise InvalidArtifactError(
                f"preprocessing: expected a {name} of RGB values from 0 to 1, came {values}"
            )


def _verdict(returncode: int, said: str, complaints: str) -> str | None:
    """Return why a model is refused, by how its trial ended; None: it is not."""
    if returncode < 0:
        name = signal.Signals(-returncode).name
        return f"the model ended the process that ran it ({name}): it would end the service too"
    try:
        refused = json.loads(said.splitlines()[-1])["refused"]
    except (IndexError, ValueError, KeyError, TypeError):
        last = complaints.strip().splitlines()[-1:] or ["nothing"]
        return f"the process that ran the model broke down: it said {last[0][:MAX_REASON]}"
    return None if refused is None else " ".join(str(refused).split())[:MAX_REASON]


def _without(directory: Path, message: str) -> str:
    """Take the place of a directory on this machine out of a message for a client."""
    return message.replace(f"{directory}{os.sep}", "").replace(str(directory), "the model")
