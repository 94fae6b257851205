"""The process that carries out a script under a `Watch` and dies at one of its steps."""

import errno
import multiprocessing
import os
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from gallery_index.errors import GalleryError
from tests.gallery_index.disk import Chance, Disk
from tests.gallery_index.early import compress_with
from tests.gallery_index.places import Place
from tests.gallery_index.scripts import Operation, State, after, perform
from tests.gallery_index.steps import OnStep, Step, Watch

SYNCS = ("fsync", "fdatasync")
DEATH = 77
"""The exit code of a process that died where it should."""


def run(
    place: Place, script: Sequence[Operation], watched_from: int, ending: "Ending", pipe: Connection
) -> None:
    """Carry out a script; steps count from its operation number `watched_from` on.

    Says `begun k` of each operation, `done k` or `failed k`, and in the end the calls of all steps,
    of which the last is `end`: everything is acknowledged.
    """
    directory = place.directory
    if place.first_stage is not None:
        compress_with(place.first_stage)
    on_step = ending(directory)
    calls: list[str] = []

    def noted(step: Step) -> object:
        if step.number:
            calls.append(step.call)
        return on_step(step)

    with Watch(directory, noted) as watch:
        for number, operation in enumerate(script):
            watch.counting = number >= watched_from
            pipe.send(("begun", number))
            try:
                perform(place, operation)
            except GalleryError:
                pipe.send(("failed", number))
                continue
            pipe.send(("done", number))
        watch.take("end", directory, (), lambda: None)
    pipe.send(("calls", calls))
    pipe.close()
    os._exit(0)  # nothing is closed in order


Ending = Callable[[Path], OnStep]


class Unharmed:
    """Lets every step happen."""

    def __call__(self, directory: Path) -> OnStep:
        return lambda step: step.perform()


class KilledAt:
    """Dies before a step; `late`: after it, and of a write after half of it."""

    def __init__(self, number: int, *, late: bool = False) -> None:
        self._number = number
        self._late = late

    def __call__(self, directory: Path) -> OnStep:
        return self._on_step

    def _on_step(self, step: Step) -> object:
        if step.number < self._number:
            return step.perform()
        if self._late and step.call == "pwrite":
            data, offset = step.arguments
            whole = memoryview(data).cast("B")
            step.perform(whole[: len(whole) // 2], offset)
        elif self._late:
            step.perform()
        os._exit(DEATH)


class PowerLostAt:
    """Dies before a step or at the end; leaves in `images` what a disk may hold, one a seed.

    Of what was not synced nothing is there for the seeds 0, 3, ..., all for 1, 4, ..., some else.
    """

    def __init__(self, number: int, images: Path, seeds: Sequence[int]) -> None:
        self._number = number
        self._images = images
        self._seeds = seeds

    def __call__(self, directory: Path) -> OnStep:
        disk = Disk(directory)

        def on_step(step: Step) -> object:
            if step.number < self._number and step.call != "end":
                return disk.take(step)
            for seed in self._seeds:
                disk.write_image(self._images / str(seed), _chance(seed))
            os._exit(DEATH)

        return on_step


class SyncFailedAt:
    """The first fsync from a step on fails, later ones succeed; what was before it never arrives.

    That is what Linux does. At the end the power fails, which leaves `images`.
    """

    def __init__(self, number: int, images: Path, seeds: Sequence[int]) -> None:
        self._number = number
        self._images = images
        self._seeds = seeds

    def __call__(self, directory: Path) -> OnStep:
        disk, failed = Disk(directory), list[Step]()

        def on_step(step: Step) -> object:
            if step.call == "end":
                for seed in self._seeds:
                    disk.write_image(self._images / str(seed), _chance(seed))
                os._exit(DEATH)
            if step.number >= self._number and step.call in SYNCS and not failed:
                failed.append(step)
                disk.lose(step.path)
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return disk.take(step)

        return on_step


def _chance(seed: int) -> Chance:
    odds, chance = (0.0, 1.0, 0.5)[seed % 3], random.Random(seed)
    return lambda: chance.random() < odds


@dataclass(frozen=True, slots=True)
class Life:
    """What a process said before it ended: operations begun, done and failed; then its steps."""

    begun: int
    done: frozenset[int]
    failed: frozenset[int]
    calls: list[str] | None

    def may_have_left(self, script: Sequence[Operation], first: State | None = None) -> list[State]:
        """Return what may be there: of an operation without an answer all or nothing."""
        allowed = [first or {}]
        for number, operation in enumerate(script[: self.begun + 1]):
            done = [after(state, operation) for state in allowed]
            allowed = done if number in self.done else allowed + done
        return allowed

    def erased(self, script: Sequence[Operation]) -> frozenset[str]:
        """Return the persons whose erasure was acknowledged and who were not named since."""
        persons: set[str] = set()
        for number, operation in enumerate(script[: self.begun + 1]):
            if operation[0] == "erase" and number in self.done:
                persons.add(operation[1])
            else:
                persons -= set(operation[1:])
        return frozenset(persons)

    @property
    def telling_steps(self) -> list[int]:
        """The numbers of its steps, of a row of equal calls only the first and the last."""
        calls = self.calls or []
        return [
            number
            for number, call in enumerate(calls, start=1)
            if number in (1, len(calls)) or not calls[number - 2] == call == calls[number]
        ]


def live(place: Place, script: Sequence[Operation], watched_from: int, ending: Ending) -> Life:
    """Let a child carry out a script to its end; returns what it said."""
    # A fork of a server that has imported everything: most of the time goes to the work.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.gallery_index.doomed"])
    ours, theirs = context.Pipe(duplex=False)
    same_place = Place(place.directory, place.redis_url, first_stage=place.first_stage)
    child = context.Process(target=run, args=(same_place, script, watched_from, ending, theirs))
    child.start()
    theirs.close()
    said: dict[str, list[Any]] = {}
    with ours, suppress(EOFError):
        while True:
            word, number = ours.recv()
            said.setdefault(word, []).append(number)
    child.join()
    assert child.exitcode in (0, DEATH), f"the child failed with {child.exitcode}"
    done, failed = frozenset(said.get("done", [])), frozenset(said.get("failed", []))
    return Life(said["begun"][-1], done, failed, said.get("calls", [None])[0])
