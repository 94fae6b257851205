"""A client that does a bit of everything with its own entries and checks every answer.

Owns what is sent and what each answer must be. When the service is killed is not known here.
"""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Event, Lock, Thread
from typing import Any

import httpx

from tests.end_to_end.crash_ledger import Facts, Ledger, crop_of
from tests.end_to_end.crash_models import similarity

CAMERAS = ("1", "2", "3", None)
TOLERANCE = 1e-4
"""Of a similarity: the service embeds in its own order of operations and stores fp16."""
MOST_ENTRIES = 40
"""Of one client. All clients together stay below the 256 candidates that are always scored: noise
cut down to 8 dimensions says nothing of an entry's own crop, which no gallery would choose."""
BAD_CROP = b"not an image"


class Ended(Exception):
    """The connection broke: the service was killed, and this client is through."""


@dataclass
class Faults:
    """What has been done to the servers: which broken answers are to be expected."""

    service_ends: Event = field(default_factory=Event)
    store_is_away: Event = field(default_factory=Event)
    stop: Event = field(default_factory=Event)


@dataclass
class Shared:
    """What the clients of one gallery have in common: ids that several fight for, a count."""

    lock: Lock = field(default_factory=Lock)
    fought_for: dict[str, set[int]] = field(default_factory=dict)
    won: dict[str, set[int]] = field(default_factory=dict)
    answers: int = 0

    def answered(self) -> None:
        """Count an acknowledged write."""
        with self.lock:
            self.answers += 1


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A request whose outcome is not known, to be sent again."""

    kind: str
    target: str
    facts: Facts | None = None
    changes: Mapping[str, str | None] = field(default_factory=dict)


class Client:
    """One client thread; its ids, persons and crops are its own."""

    def __init__(self, name: str, number: int, shared: Shared) -> None:
        self.ledger = Ledger()
        self.unanswered: list[Unanswered] = []
        self.anonymous: dict[str, Facts] = {}
        self.failure: BaseException | None = None
        self._name = name
        self._next = number * 1_000_000
        self._shared = shared
        self._chance = random.Random(number)
        self._person = 0
        self._thread: Thread | None = None

    def start(self, url: str, faults: Faults) -> None:
        """Work in a thread until told to stop or until the service is gone."""
        self._thread = Thread(target=self._work, args=(url, faults))
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread; raises what it found wrong."""
        assert self._thread is not None
        self._thread.join()
        if self.failure is not None:
            raise self.failure

    def _work(self, url: str, faults: Faults) -> None:
        moves: list[tuple[int, Callable[[], None]]] = [
            (30, self._enrol), (15, self._batch), (5, self._enrol_without_id), (5, self._fight),
            (12, self._delete), (4, self._erase), (12, self._change), (17, self._look),
        ]  # fmt: skip
        weights, actions = zip(*moves, strict=True)
        adding = (self._enrol, self._enrol_without_id, self._batch)
        self._faults = faults
        try:
            with httpx.Client(base_url=url, timeout=60, trust_env=False) as self._http:
                while not faults.stop.is_set():
                    [action] = self._chance.choices(actions, weights)
                    if action in adding and len(self.ledger.certain()) >= MOST_ENTRIES:
                        action = self._delete
                    action()
        except Ended:
            pass
        except BaseException as error:
            self.failure = error

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response | None:
        """Send a request; None: nobody knows what became of it."""
        try:
            response = self._http.request(method, path, **content)
        except httpx.TransportError as error:
            if self._faults.service_ends.is_set():
                raise Ended from error
            raise
        if response.status_code == 503 and self._faults.service_ends.is_set():
            assert response.json()["code"] == "shutting_down", response.text
            raise Ended
        if response.status_code == 503 and self._faults.store_is_away.is_set():
            assert "Retry-After" in response.headers, response.headers
            return None
        return response

    def _sent(self, doubt: Unanswered, method: str, path: str, **content: Any) -> Any:
        """Send a write; remembers it if it is not answered."""
        self.unanswered.append(doubt)
        response = self._send(method, path, **content)
        if response is not None:
            self.unanswered.pop()
            self._shared.answered()
        return response

    def _facts(self) -> Facts:
        self._next += 1
        chance = self._chance
        if chance.random() < 0.1:
            self._person += 1
        return Facts(
            seed=self._next,
            modality=chance.choice(["visible", "infrared"]),
            person_id=chance.choice([self._recent_person(), self._recent_person(), None]),
            camera_id=chance.choice(CAMERAS),
            captured_at=chance.choice([f"2026-01-{chance.randint(1, 28):02d}T00:00:00Z", None]),
            attributes=json.dumps({"colour": chance.choice(["red", "blue"])}),
        )

    def _recent_person(self) -> str:
        number = max(0, self._person - self._chance.randint(0, 2))
        name = self._person_name(number)
        while name in self.ledger.erased:
            self._person += 1
            name = self._person_name(self._person)
        return name

    def _person_name(self, number: int) -> str:
        return f"person-{self._name}-{number:06d}"

    def _fresh(self) -> tuple[str, Facts]:
        """A new entry, under a new id or one that was deleted, with a crop of its own."""
        facts = self._facts()
        gone = self.ledger.absent()
        if gone and self._chance.random() < 0.2:
            return self._chance.choice(gone), facts
        return f"{self._name}-{facts.seed}", facts

    def _enrol(self) -> None:
        entry_id, facts = self._fresh()
        self.ledger.may_enrol(entry_id, facts)
        response = self._sent(
            Unanswered("enrol", entry_id, facts),
            "POST",
            "/gallery",
            files={"file": crop_of(facts.seed)},
            data={"entry_id": entry_id, **facts.fields()},
        )
        if response is not None:
            assert response.status_code == 201, response.text
            assert "Idempotent-Replayed" not in response.headers
            self._agree(entry_id, response.json())

    def _enrol_without_id(self) -> None:
        facts = self._facts()
        self.anonymous[str(facts.seed)] = facts
        response = self._send(
            "POST", "/gallery", files={"file": crop_of(facts.seed)}, data=facts.fields()
        )
        if response is not None:
            assert response.status_code == 201, response.text
            del self.anonymous[str(facts.seed)]
            entry_id = response.json()["entry_id"]
            self.ledger.may_enrol(entry_id, facts)
            self._agree(entry_id, response.json())

    def _batch(self) -> None:
        """Fresh entries, among them one sent twice, one there already, one that is no image."""
        sent = dict(self._fresh() for _ in range(self._chance.randint(1, 6)))
        items = [(entry_id, facts, crop_of(facts.seed)) for entry_id, facts in sent.items()]
        items.append(items[0])
        items.append(("bad", self._facts(), BAD_CROP))
        known = self.ledger.certain()
        if known:
            entry_id, facts = self._chance.choice(list(known.items()))
            items.append((entry_id, facts, crop_of(facts.seed)))
        for entry_id, facts in sent.items():
            self.ledger.may_enrol(entry_id, facts)
        doubts = [Unanswered("enrol", entry_id, facts) for entry_id, facts in sent.items()]
        self.unanswered += doubts
        response = self._send(
            "POST",
            "/gallery/batch",
            files=[("files", data) for _, _, data in items],
            data={"entries": json.dumps([_described(name, facts) for name, facts, _ in items])},
        )
        if response is None:
            return
        del self.unanswered[-len(doubts) :]
        self._shared.answered()
        assert response.status_code == 200, response.text
        for (entry_id, _, data), result in zip(items, response.json()["results"], strict=True):
            assert (result["status"] == 201) == (data != BAD_CROP), result
            if data != BAD_CROP:
                self._agree(entry_id, result["entry"])

    def _fight(self) -> None:
        """Claim an id that others claim for their own crops: one of them has it in the end."""
        facts = self._facts()
        entry_id = f"fought-{facts.seed % 7}"
        with self._shared.lock:
            self._shared.fought_for.setdefault(entry_id, set()).add(facts.seed)
        response = self._send(
            "POST",
            "/gallery",
            files={"file": crop_of(facts.seed)},
            data={"entry_id": entry_id, **facts.fields(), "person_id": "fought"},
        )
        if response is not None:
            assert response.status_code in (201, 409), response.text
            if response.status_code == 201:
                with self._shared.lock:
                    self._shared.won.setdefault(entry_id, set()).add(facts.seed)

    def _delete(self) -> None:
        known = list(self.ledger.certain())
        if not known:
            return
        entry_id = self._chance.choice(known)
        self.ledger.may_delete(entry_id)
        response = self._sent(Unanswered("delete", entry_id), "DELETE", f"/gallery/{entry_id}")
        if response is not None:
            assert response.status_code == 204, response.text
            self.ledger.is_now(entry_id, None)
            for path in (f"/gallery/{entry_id}", f"/gallery/{entry_id}/crop"):
                gone = self._send("GET", path)
                assert gone is not None
                assert gone.status_code == 404, gone.text

    def _erase(self) -> None:
        person_id = self._recent_person()
        self.ledger.may_erase(person_id)
        response = self._sent(Unanswered("erase", person_id), "DELETE", f"/persons/{person_id}")
        if response is None:
            return
        if response.status_code == 404:
            self.ledger.was_erased(person_id, set())
            self.ledger.erased.discard(person_id)
            return
        assert response.status_code == 200, response.text
        receipt = response.json()
        assert receipt["entries"] == receipt["vectors"] == len(receipt["entry_ids"]), receipt
        self.ledger.was_erased(person_id, set(receipt["entry_ids"]))

    def _change(self) -> None:
        known = list(self.ledger.certain())
        if not known:
            return
        entry_id = self._chance.choice(known)
        changes: dict[str, str | None] = {"camera_id": self._chance.choice(CAMERAS)}
        if self._chance.random() < 0.5:
            changes["person_id"] = self._recent_person()
        if self._chance.random() < 0.5:
            changes["attributes"] = json.dumps({"seen": self._chance.randint(0, 9)})
        self.ledger.may_change(entry_id, changes)
        response = self._sent(
            Unanswered("change", entry_id, changes=changes),
            "PATCH",
            f"/gallery/{entry_id}",
            json=patch_of(changes),
        )
        if response is not None:
            assert response.status_code == 200, response.text
            self._agree(entry_id, response.json())

    def _look(self) -> None:
        """Read back what is certain, and find it by its own crop: reads never need the store."""
        known = self.ledger.certain()
        if not known:
            return
        entry_id, facts = self._chance.choice(list(known.items()))
        entry = self._send("GET", f"/gallery/{entry_id}")
        assert entry is not None, "a read was answered 503"
        assert entry.status_code == 200, entry.text
        assert Facts.of(entry.json()) == facts
        found = self._send(
            "POST",
            "/query",
            files={"file": crop_of(facts.seed)},
            data={"modality": facts.modality, "top_k": "5"},
        )
        assert found is not None, "a search was answered 503"
        assert found.status_code == 200, found.text
        matches = found.json()["matches"]
        assert matches[0]["entry_id"] == entry_id, (entry_id, matches)
        assert matches[0]["similarity"] > 0.999
        self._check_not_gone(matches)
        self._check_similarities(facts.seed, found.json())
        again = self._send(
            "POST",
            "/query",
            files={"file": crop_of(facts.seed)},
            data={"modality": facts.modality, "top_k": "5", "rerank": "true"},
        )
        assert again is not None
        assert again.status_code == 200, again.text
        self._check_not_gone(again.json()["matches"])
        self._check_similarities(facts.seed, again.json())

    def _check_similarities(self, seed: int, answer: Mapping[str, Any]) -> None:
        """Every similarity is one of the model that the answer names, and of no two."""
        certain = self.ledger.certain()
        for match in answer["matches"]:
            if (facts := certain.get(match["entry_id"])) is not None:
                exact = similarity(seed, facts.seed, answer["model_id"])
                assert abs(match["similarity"] - exact) < TOLERANCE, (match, exact, answer)

    def _check_not_gone(self, matches: Sequence[Mapping[str, Any]]) -> None:
        found = {match["entry_id"] for match in matches}
        assert not found & set(self.ledger.absent()), "a deleted entry was found"

    def _agree(self, entry_id: str, body: Mapping[str, Any]) -> None:
        assert body["entry_id"] == entry_id
        self.ledger.is_now(entry_id, Facts.of(body))


def patch_of(changes: Mapping[str, str | None]) -> dict[str, Any]:
    """Return changes as the JSON that PATCH takes."""
    return {
        name: json.loads(value) if name == "attributes" and value is not None else value
        for name, value in changes.items()
    }


def _described(entry_id: str, facts: Facts) -> dict[str, Any]:
    return {"entry_id": entry_id, **facts.fields(), "attributes": json.loads(facts.attributes)}
