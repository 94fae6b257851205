"""What the answers to one client allow: for each entry, every state it may be in.

A request narrows the states when it is answered and widens them when it is not: whoever gets no
answer cannot know. What a listing shows must be among them. Knows nothing of HTTP or processes.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from tests.service.fakes import crop

_seeds: dict[str, int] = {}


@lru_cache(maxsize=20_000)
def crop_of(seed: int) -> bytes:
    """Return the crop of a seed: each another image."""
    data = crop(seed)
    _seeds[hashlib.sha256(data).hexdigest()] = seed
    return data


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything a listing says about an entry that its client chose."""

    seed: int
    modality: str
    person_id: str | None = None
    camera_id: str | None = None
    captured_at: str | None = None
    attributes: str = "{}"

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Facts":
        """Read an entry as the service shows it; a crop that was never sent is a phantom."""
        assert body["crop_sha256"] in _seeds, f"a crop that nobody sent: {body}"
        return cls(
            _seeds[body["crop_sha256"]],
            body["modality"],
            body["person_id"],
            body["camera_id"],
            body["captured_at"],
            json.dumps(body["attributes"], sort_keys=True),
        )

    def fields(self) -> dict[str, str]:
        """Return the form fields that enrol it."""
        named = {
            "modality": self.modality,
            "person_id": self.person_id,
            "camera_id": self.camera_id,
            "captured_at": self.captured_at,
            "attributes": self.attributes,
        }
        return {name: value for name, value in named.items() if value is not None}


State = Facts | None
"""None: there is no such entry."""


@dataclass
class Ledger:
    """The states that one client's entries may be in."""

    states: dict[str, set[State]] = field(default_factory=dict)
    erased: set[str] = field(default_factory=set)
    """Persons whose erasure was acknowledged and whose name was never sent again."""

    def of(self, entry_id: str) -> set[State]:
        """Return the states an id may be in; one never sent is absent."""
        return self.states.get(entry_id, {None})

    def certain(self) -> dict[str, Facts]:
        """Return the entries that must be there exactly so."""
        return {
            entry_id: state
            for entry_id, states in self.states.items()
            if len(states) == 1 and (state := next(iter(states))) is not None
        }

    def absent(self) -> list[str]:
        """Return the ids that were there and cannot be there now."""
        return [entry_id for entry_id, states in self.states.items() if states == {None}]

    def may_enrol(self, entry_id: str, facts: Facts) -> None:
        """An enrolment was sent."""
        states = self.of(entry_id)
        self.states[entry_id] = states | {facts} if None in states else states

    def may_change(self, entry_id: str, changes: Mapping[str, str | None]) -> None:
        """A change of fields was sent."""
        states = self.of(entry_id)
        changed = {replace(state, **changes) for state in states if state is not None}  # type: ignore[arg-type]
        self.states[entry_id] = states | changed

    def may_delete(self, entry_id: str) -> None:
        """A deletion was sent."""
        self.states[entry_id] = self.of(entry_id) | {None}

    def may_erase(self, person_id: str) -> None:
        """The erasure of a person was sent."""
        for entry_id in self.of_person(person_id):
            self.may_delete(entry_id)

    def is_now(self, entry_id: str, state: State) -> None:
        """An answer said in which state an entry is."""
        states = self.of(entry_id)
        assert state in states, f"{entry_id} is {state}, but what was answered allows {states}"
        self.states[entry_id] = {state}

    def was_erased(self, person_id: str, entry_ids: set[str]) -> None:
        """A receipt said which entries of a person went."""
        theirs = self.of_person(person_id)
        assert entry_ids <= theirs, f"erased for {person_id}: {entry_ids}, theirs were {theirs}"
        for entry_id in theirs:
            if entry_id in entry_ids:
                self.states[entry_id] = {None}
            else:
                others = {
                    state
                    for state in self.states[entry_id]
                    if state is None or state.person_id != person_id
                }
                assert others, f"{entry_id} of {person_id} was left out of the receipt"
                self.states[entry_id] = others
        self.erased.add(person_id)

    def of_person(self, person_id: str) -> set[str]:
        """Return the ids that may be entries of a person."""
        return {
            entry_id
            for entry_id, states in self.states.items()
            if any(state is not None and state.person_id == person_id for state in states)
        }

    def settle(self, listed: Mapping[str, Facts]) -> None:
        """Compare with a complete listing, after which nothing is in doubt."""
        for entry_id in self.states:
            self.is_now(entry_id, listed.get(entry_id))
