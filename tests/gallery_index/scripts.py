"""What a gallery is made to do before it is killed, and what must be there afterwards.

A script is a list of operations. `states` says, without any gallery, what it holds after each: so
a process that died during the k-th must have left what holds before it or what holds after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from gallery_index.gallery import Gallery
from gallery_index.generations.pointer import active_vectors
from gallery_index.records import EntryChanges, EntryFilter, GalleryEntry, NewEntry
from gallery_index.verification import verify_directory
from tests.gallery_index.places import (
    DIMS,
    MODEL,
    OTHER_MODEL,
    BruteForce,
    Place,
    embed,
    enrolled,
    new,
    vector_by,
)

Operation = tuple[str, ...]
"""Its name, then what it is about: a person, entry ids."""
State = dict[str, str]
"""Entry id -> person id. An entry `e7` has the vector and crop of seed 7."""
ANY = EntryFilter()


def add(*seeds: int, person: str = "person-ann") -> Operation:
    """Enrol entries of a person in one call."""
    return ("add", person, *(f"e{seed}" for seed in seeds))


def after(state: State, operation: Operation) -> State:
    """Return what a gallery holds after an operation, by the words of its documentation."""
    name, *rest = operation
    match name:
        case "add":
            person, *names = rest
            return {**state, **{entry: person for entry in names if entry not in state}}
        case "delete":
            return {entry: person for entry, person in state.items() if entry != rest[0]}
        case "erase":
            return {entry: person for entry, person in state.items() if person != rest[0]}
        case "change":
            return {**state, rest[0]: rest[1]}
    return state


def states(script: Sequence[Operation], first: State | None = None) -> list[State]:
    """Return what a gallery holds before each operation of a script, and after the last."""
    held = [first or {}]
    for operation in script:
        held.append(after(held[-1], operation))
    return held


def perform(place: Place, operation: Operation) -> None:
    """Carry out an operation; on a gallery that could not be opened before, after opening it."""
    name, *rest = operation
    if name == "reopen":
        place.close()
    if name in ("open", "reopen") or not place.opened:
        place.open()
    if name in ("open", "reopen"):
        return
    gallery = place.opened[-1]
    match name:
        case "add":
            enrolled(gallery, *[_new(gallery, int(e[1:]), rest[0]) for e in rest[1:]])
        case "delete":
            gallery.delete(rest[0])
        case "erase":
            gallery.erase_person(rest[0])
        case "change":
            gallery.update(rest[0], EntryChanges(person_id=rest[1]))
        case "begin_refresh":
            model_id = other_model(gallery)
            gallery.begin_refresh(model_id, DIMS[model_id])
        case "fill" if gallery.other() is not None:
            fill(gallery, int(rest[0]))
        case "fill":
            pass
        case "drop_other" if gallery.other() is None:
            pass
        case "switch":
            switch(gallery)
        case _:
            getattr(gallery, name)()


def _new(gallery: Gallery, seed: int, person_id: str) -> NewEntry:
    return new(seed, person_id=person_id, embedding=vector_by(gallery.model_id, seed))


def other_model(gallery: Gallery) -> str:
    """Return the one of the two models that the gallery is not searched with."""
    return OTHER_MODEL if gallery.model_id == MODEL else MODEL


def fill(gallery: Gallery, most: int) -> int:
    """Give the other generation up to so many of the vectors it lacks; returns how many."""
    entries = gallery.missing(most)
    vectors = {
        entry.row: vector_by(other_model(gallery), int(entry.entry_id[1:])) for entry in entries
    }
    return gallery.fill(vectors) if vectors else 0


def switch(gallery: Gallery) -> None:
    """Fill what is missing of the other generation, which is made if need be, and search it."""
    if gallery.other() is None:
        gallery.begin_refresh(other_model(gallery), DIMS[other_model(gallery)])
    while fill(gallery, 100):
        pass
    wanted = other_model(gallery)
    assert gallery.switch(lambda crops: embed(wanted, crops)) == wanted


@dataclass(frozen=True, slots=True)
class Left:
    """What a dead process may have left: one of some states, and nothing of what is gone."""

    allowed: Sequence[State]
    ever: frozenset[str] = field(default_factory=frozenset)
    erased: frozenset[str] = field(default_factory=frozenset)
    """Persons whose erasure was acknowledged."""


def check(place: Place, left: Left, note: str) -> None:
    """Verify, open, compare, write on, open again: all of it must agree."""
    if active_vectors(place.directory).exists():
        report = verify_directory(place.directory, redis_url=place.redis_url)
        assert not report.problems, (report.problems, note)
    gallery = place.open()
    found = check_open(place, gallery, left, note)
    place.crash()
    gallery = place.open()
    assert holds(gallery) == found, note
    gallery.close()


def check_open(place: Place, gallery: Gallery, left: Left, note: str) -> State:
    """Compare an open gallery with what it may hold, and write on; returns what it holds."""
    found = holds(gallery)
    assert found in left.allowed, f"{note}: {found} is none of {left.allowed}"
    _check_answers(gallery, found, note)
    enrolled(gallery, _new(gallery, 9_999_999, "person-late"))
    assert holds(gallery) == {**found, "e9999999": "person-late"}, note
    gallery.delete("e9999999")
    if gallery.other() is not None:  # a refresh goes on where it stood, or back
        switch(gallery)
        assert holds(gallery) == found, note
        _check_answers(gallery, found, note)
    report = gallery.verify()
    assert not report.problems + report.unfinished, (report, note)
    _check_erased(place, left.ever - found.keys() | {"e9999999"}, left.erased, note)
    return found


def holds(gallery: Gallery) -> State:
    """Return what a gallery lists."""
    return {entry.entry_id: str(entry.person_id) for entry in _listed(gallery)}


def _listed(gallery: Gallery) -> list[GalleryEntry]:
    return gallery.list(ANY, limit=1000).entries


def _check_answers(gallery: Gallery, found: State, note: str) -> None:
    oracle, model_id = BruteForce(), gallery.model_id
    for entry in _listed(gallery):
        seed = int(entry.entry_id[1:])
        assert entry.model_id == model_id, note
        query = vector_by(model_id, seed)
        oracle.add(entry, query)
        assert gallery.crop(entry.entry_id)[0] == f"crop {seed}".encode(), note
        best = gallery.search(query, top_k=1)[0]
        assert best.entry.entry_id == entry.entry_id, note
        assert best.similarity == pytest.approx(1.0, abs=2e-3), note
    query = vector_by(model_id, 123_456)
    matches = gallery.search(query, top_k=1000)
    expected = oracle.search(query, 1000, ANY)
    assert [m.entry.entry_id for m in matches] == [name for name, _ in expected], note


def _check_erased(place: Place, gone: frozenset[str], persons: frozenset[str], note: str) -> None:
    """No file holds the vector or crop of a deleted entry, nor the name of an erased person."""
    wanted: dict[str, bytes] = {}
    for name in gone:
        seed = int(name[1:])
        for model_id in DIMS:
            direction = vector_by(model_id, seed).astype(np.float64)
            direction /= np.linalg.norm(direction)
            stored = direction.astype(np.float32).astype(np.float16).tobytes()
            wanted[f"the vector of {name} by {model_id}"] = stored
        wanted[f"the crop of {name}"] = f"crop {seed}".encode()
    wanted |= {f"the name of {person}": person.encode() for person in persons}
    for path in place.directory.rglob("*"):
        if path.is_file():
            data = path.read_bytes()
            held = [what for what, text in wanted.items() if _holds(data, text)]
            assert not held, f"{note}: {path} still holds {held}"


def _holds(data: bytes, text: bytes) -> bool:
    """Whether a file has these bytes; a crop's text is the whole of its file."""
    return data == text if text.startswith(b"crop ") else text in data
