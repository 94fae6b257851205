"""A process dies before every step of every operation, and halfway through every write.

The steps are found by carrying the operation out once and counting, so new ones are covered too.
"""

from pathlib import Path

import pytest

from gallery_index.records import EntryFilter
from tests.gallery_index.bases import (
    BEFORE_EARLY,
    BEFORE_REFRESH,
    EVERYBODY,
    OPERATIONS,
    OPERATIONS_EARLY,
    OPERATIONS_REFRESH,
    Base,
    prepare,
)
from tests.gallery_index.doomed import KilledAt, Unharmed, live
from tests.gallery_index.early import compress_with
from tests.gallery_index.places import Place
from tests.gallery_index.scripts import (
    Left,
    Operation,
    State,
    add,
    check,
    states,
)


def die_everywhere(
    place: Place,
    base: Base,
    script: list[Operation],
    watched_from: int,
    held: State,
) -> int:
    """Kill a process at every step of a script; check what each left. Returns how many died."""
    base.restore()
    unharmed = live(place, script, watched_from, Unharmed())
    deaths = 0
    for number in unharmed.telling_steps:
        for late in (False, True):
            base.restore()
            life = live(place, script, watched_from, KilledAt(number, late=late))
            if life.calls is not None:  # background work made fewer steps this time
                continue
            deaths += 1
            left = Left(life.may_have_left(script, held), EVERYBODY, life.erased(script))
            note = f"killed {'in' if late else 'before'} step {number} of {unharmed.calls}"
            check(place, left, note)
    return deaths


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_death_at_any_step_leaves_all_of_an_operation_or_nothing(
    place: Place, base: Base, name: str
) -> None:
    held = prepare(place, base)
    assert die_everywhere(place, base, [("open",), *OPERATIONS[name]], 1, held) >= 2


@pytest.mark.parametrize("first_stage", ["pca", "rabitq"])
@pytest.mark.parametrize("name", OPERATIONS_EARLY)
def test_a_death_at_any_step_of_a_compressed_gallery_is_no_other(
    sqlite_place: Place,
    directory: Path,
    name: str,
    first_stage: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sqlite_place.first_stage = first_stage
    compress_with(first_stage, monkeypatch.setattr)
    with Base(sqlite_place, directory / "alive") as base:
        held = prepare(sqlite_place, base, BEFORE_EARLY)
        script = [("open",), *OPERATIONS_EARLY[name]]
        assert die_everywhere(sqlite_place, base, script, 1, held) >= 2


@pytest.mark.parametrize("name", OPERATIONS_REFRESH)
def test_a_death_at_any_step_of_a_refresh_leaves_one_that_goes_on(
    place: Place, base: Base, name: str
) -> None:
    held = prepare(place, base, BEFORE_REFRESH)
    assert die_everywhere(place, base, [("open",), *OPERATIONS_REFRESH[name]], 1, held) >= 2


def test_a_death_at_any_step_of_a_creation_is_no_obstacle(place: Place, base: Base) -> None:
    assert die_everywhere(place, base, [("open",), add(0)], 0, {}) > 20


@pytest.mark.parametrize("name", ["batch", "erasure", "snapshot"])
def test_a_death_while_a_death_is_recovered_from_changes_nothing(
    place: Place, base: Base, directory: Path, name: str
) -> None:
    held = prepare(place, base)
    script = [("open",), *OPERATIONS[name]]
    steps = live(place, script, 1, Unharmed()).telling_steps
    with Base(place, directory / "once dead") as once_dead:
        for number in steps[1 :: max(1, len(steps) // 2)]:
            base.restore()
            live(place, script, 1, KilledAt(number))
            once_dead.keep()
            left = listed(place)
            assert left in states(script, held)
            die_everywhere(place, once_dead, [("open",)], 0, left)


def listed(place: Place) -> State:
    """Return what a gallery holds when it is opened."""
    entries = place.open().list(EntryFilter()).entries
    place.crash()
    return {entry.entry_id: str(entry.person_id) for entry in entries}
