"""The process that carries out a script under a `Watch` and dies at one of its steps."""

import multiprocessing
import os
import random
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.gallery_index.disk import Chance, Disk
from tests.gallery_index.places import Place
from tests.gallery_index.scripts import Operation, perform
from tests.gallery_index.steps import OnStep, Step, Watch

DEATH = 77
"""The exit code of a process that died where it should."""


def run(
    directory: Path,
    redis_url: str | None,
    script: Sequence[Operation],
    watched_from: int,
    ending: "Ending",
    pipe: Connection,
) -> None:
    """Carry out a script; steps count from its operation number `watched_from` on.

    Says `begun k` and `done k` of each operation, and in the end the calls of all steps.
    """
    place = Place(directory, redis_url)
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
            perform(place, operation)
            pipe.send(("done", number))
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
    """Dies before a step and leaves in `images` what the disk may hold then, once for each seed.

    Of what was not synced nothing is there for the seeds 0, 3, ..., all for 1, 4, ..., some else.
    """

    def __init__(self, number: int, images: Path, seeds: Sequence[int]) -> None:
        self._number = number
        self._images = images
        self._seeds = seeds

    def __call__(self, directory: Path) -> OnStep:
        disk = Disk(directory)

        def on_step(step: Step) -> object:
            if step.number < self._number:
                return disk.take(step)
            for seed in self._seeds:
                disk.write_image(self._images / str(seed), _chance(seed))
            os._exit(DEATH)

        return on_step


def _chance(seed: int) -> Chance:
    odds, chance = (0.0, 1.0, 0.5)[seed % 3], random.Random(seed)
    return lambda: chance.random() < odds


@dataclass(frozen=True, slots=True)
class Life:
    """What a process said before it ended: operations begun and done; its steps if it lived on."""

    begun: int
    done: int
    calls: list[str] | None

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
    child = context.Process(
        target=run, args=(place.directory, place.redis_url, script, watched_from, ending, theirs)
    )
    child.start()
    theirs.close()
    said: dict[str, Any] = {}
    with ours, suppress(EOFError):
        while True:
            word, number = ours.recv()
            said[word] = number
    child.join()
    assert child.exitcode in (0, DEATH), f"the child failed with {child.exitcode}"
    return Life(said.get("begun", -1), said.get("done", -1), said.get("calls"))
