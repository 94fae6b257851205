"""The power fails at a random step of a random life: nothing acknowledged is lost.

Of what the process had not synced the disk holds nothing, everything, or any part; see `disk` for
what that covers. Redis is taken to keep what it has answered, as with `appendfsync always`.
`POWER_LIVES` says how many lives are tried.
"""

import os
import random
from pathlib import Path

import pytest

from gallery_index.files.durable_files import replace_file, write_synced
from tests.gallery_index.bases import Base
from tests.gallery_index.disk import Disk
from tests.gallery_index.doomed import SYNCS, Life, PowerLostAt, SyncFailedAt, Unharmed, live
from tests.gallery_index.early import compress_with
from tests.gallery_index.places import Place
from tests.gallery_index.scripts import Left, Operation, add, check, perform, states
from tests.gallery_index.steps import Watch

LIVES = int(os.environ.get("POWER_LIVES", "3"))
FAILURES = 5
IMAGES = 4
FIRST_STAGES = (None, "pca", "rabitq")


def random_script(chance: random.Random) -> list[Operation]:
    """A life of an opening and a dozen operations."""
    script: list[Operation] = [
        ("open",),
        add(0, 1, person="person-ann"),
        add(2, person="person-bob"),
    ]
    seed = 3
    for _ in range(12):
        held = states(script)[-1]
        seeds = range(seed, seed + chance.randint(1, 4))
        enrolment = add(*seeds, person=chance.choice(["person-ann", "person-bob", "person-eve"]))
        operations: list[tuple[int, Operation]] = [(4, enrolment), (1, ("snapshot",))]
        operations += [(1, ("rebuild",)), (1, ("reopen",)), (2, ("upkeep",))]
        operations += [(1, ("begin_refresh",)), (2, ("fill", "2")), (2, ("switch",))]
        operations += [(1, ("drop_other",))]
        if held:
            entry, person = chance.choice(sorted(held.items()))
            operations += [(2, ("delete", entry)), (1, ("erase", person))]
            operations += [(1, ("change", entry, "person-zoe"))]
        weights, choices = zip(*operations, strict=True)
        (operation,) = chance.choices(choices, weights)
        if operation is enrolment:
            seed = seeds.stop
        script.append(operation)
    return script


@pytest.fixture
def unborn(place: Place, base: Base) -> Base:
    """An empty place to begin each life from."""
    base.keep()
    return base


def check_images(place: Place, images: Path, life: Life, script: list[Operation]) -> None:
    """Each image must hold what was acknowledged, on the store as the dead process left it."""
    left = Left(
        allowed=life.may_have_left(script),
        ever=frozenset(name for held in states(script[: life.begun + 1]) for name in held),
        erased=life.erased(script),
    )
    with Base(place, images / "store") as dead:
        dead.keep_store()
        for image in sorted(images.glob("[0-9]*")):
            dead.restore_store()
            survivor = Place(image, place.redis_url, first_stage=place.first_stage)
            check(survivor, left, f"{image}: {script}")
            survivor.close()


@pytest.mark.parametrize("seed", range(LIVES))
def test_nothing_acknowledged_is_lost_when_the_power_fails(
    place: Place, unborn: Base, directory: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    place.first_stage = FIRST_STAGES[seed % 3]
    if place.first_stage is not None:
        compress_with(place.first_stage, monkeypatch.setattr)
    script = random_script(chance)
    steps = live(place, script, 0, Unharmed()).telling_steps
    for number in [*chance.sample(steps[:-1], FAILURES), steps[-1]]:
        unborn.restore()
        images = directory / f"life {seed}, power lost at step {number}"
        seeds = range(3 * number, 3 * number + IMAGES)
        life = live(place, script, 0, PowerLostAt(number, images, seeds))
        check_images(place, images, life, script)


@pytest.mark.parametrize("seed", range(LIVES))
def test_an_fsync_that_failed_is_not_believed_later(
    place: Place, unborn: Base, directory: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    place.first_stage = FIRST_STAGES[seed % 3]
    if place.first_stage is not None:
        compress_with(place.first_stage, monkeypatch.setattr)
    script = random_script(chance)
    calls = live(place, script, 1, Unharmed()).calls
    assert calls
    syncs = [number for number, call in enumerate(calls, start=1) if call in SYNCS]
    for number in chance.sample(syncs, FAILURES):
        unborn.restore()
        images = directory / f"life {seed}, fsync failed at step {number}"
        life = live(place, script, 1, SyncFailedAt(number, images, range(IMAGES)))
        check_images(place, images, life, script)


def test_names_whose_fsync_failed_are_synced_again(sqlite_place: Place, directory: Path) -> None:
    """A directory that is there already may have been made by who could not sync its name."""
    script: list[Operation] = [("open",), add(0, person="person-ann"), add(1, person="person-bob")]
    with Base(sqlite_place, directory / "alive") as unborn:
        unborn.keep()
        calls = live(sqlite_place, script, 0, Unharmed()).calls
        assert calls
        for number in [n for n, call in enumerate(calls, start=1) if call in SYNCS]:
            unborn.restore()
            images = directory / f"fsync failed at step {number}"
            life = live(sqlite_place, script, 0, SyncFailedAt(number, images, range(2)))
            check_images(sqlite_place, images, life, script)


def test_the_file_layer_sees_every_change(sqlite_place: Place) -> None:
    """Else a file written in another way would be missing from every image."""
    disk = Disk(sqlite_place.directory)
    with Watch(sqlite_place.directory, disk.take) as watch:
        for operation in random_script(random.Random(9)):
            perform(sqlite_place, operation)
    assert disk.differences() == []
    assert watch.steps > 100


def test_the_file_layer_keeps_what_was_synced_and_only_that(directory: Path) -> None:
    root = directory / "disk"
    root.mkdir()
    disk = Disk(root)
    with Watch(root, disk.take):
        replace_file(root / "old", b"b")
        write_synced(root / "unnamed", b"a")
        descriptor = os.open(root / "old", os.O_RDWR)
        os.pwrite(descriptor, b"x" * 1024, 0)
        os.close(descriptor)
        (root / "old").rename(root / "new")
    disk.write_image(directory / "nothing", lambda: False)
    disk.write_image(directory / "everything", lambda: True)
    chances = iter([False, True, True, False, True])  # the name, the rename, the length, 2 sectors
    disk.write_image(directory / "torn", lambda: next(chances))
    assert contents(directory / "nothing") == {"old": b"b"}
    assert contents(directory / "everything") == {"new": b"x" * 1024, "unnamed": b"a"}
    assert contents(directory / "torn") == {"new": b"b" + bytes(511) + b"x" * 512}


def contents(directory: Path) -> dict[str, bytes]:
    """Return the files of a directory."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}
