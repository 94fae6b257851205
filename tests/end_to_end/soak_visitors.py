"""A visitor of a service who does a bit of everything, in no order, and checks what comes back."""

import json
import random
import threading
from collections import Counter
from collections.abc import Callable, Sequence

from tests.end_to_end.wire import Answer, Wire, form, head, post, upload
from tests.service.fakes import crop
from tests.service.hostile.mutation import damaged, sound_files
from tests.service.hostile.victim import check_problem

MOST_ENTRIES = 20
REFUSED = {413, 415, 422}
WEIGHTS = {
    "enrol": 16, "batch": 4, "query": 20, "compare": 5, "embed": 5, "list": 6, "crop": 6,
    "change": 6, "delete": 8, "erase": 2, "bad": 12, "leave": 6, "metrics": 1, "healthz": 2,
    "readyz": 2, "openapi": 1, "docs": 1, "reconnect": 2,
}  # fmt: skip


class Visitor:
    """One client; its ids and persons are its own. `counts` has what it was answered."""

    def __init__(self, url: str, number: int) -> None:
        self.counts: Counter[str] = Counter()
        self.failure: BaseException | None = None
        self.wire = Wire(url)
        self.moves: dict[str, Callable[[], None]] = {
            "enrol": self._enrol, "batch": self._batch, "query": self._query,
            "compare": self._compare, "embed": self._embed, "list": self._list, "crop": self._crop,
            "change": self._change, "delete": self._delete, "erase": self._erase, "bad": self._bad,
            "leave": self._leave, "metrics": lambda: self._look("metrics", "/metrics"),
            "healthz": lambda: self._look("healthz", "/healthz"),
            "readyz": lambda: self._look("readyz", "/readyz"),
            "openapi": lambda: self._look("openapi", "/openapi.json"),
            "docs": lambda: self._look("docs", "/docs"), "reconnect": self._reconnect,
        }  # fmt: skip
        self._url = url
        self._number = number
        self._next = 0
        self._chance = random.Random(number)
        self._entries: dict[str, int] = {}
        self._files = sound_files()

    def visit(self, stop: threading.Event) -> None:
        """Do one thing after the other until told to stop; then delete what is left."""
        names, weights = list(WEIGHTS), list(WEIGHTS.values())
        try:
            while not stop.is_set():
                [name] = self._chance.choices(names, weights)
                if len(self._entries) >= MOST_ENTRIES:
                    name = "erase"
                self.moves[name]()
            self.clear()
        except BaseException as error:
            self.failure = error
        finally:
            self.close()

    def close(self) -> None:
        """Close the connection."""
        self.wire.close()

    def clear(self) -> None:
        """Delete what is left."""
        while self._entries:
            self._delete()

    def _ask(self, name: str, request: bytes, expected: Sequence[int]) -> Answer:
        """Send a request and count its answer; one that is dropped after idling is sent again."""
        answer = self.wire.ask(request)
        if answer is None:
            self._reconnect()
            answer = self.wire.ask(request)
        assert answer is not None, f"{name} was not answered"
        assert answer.status in expected, (name, answer)
        if answer.status >= 400:
            check_problem(answer)
        self.counts[f"{name} {answer.status}"] += 1
        return answer

    def _fresh(self) -> tuple[str, int]:
        self._next += 1
        return f"v{self._number}-{self._next}", self._number * 1_000_000 + self._next

    def _some_entry(self) -> tuple[str, int] | None:
        return self._chance.choice(list(self._entries.items())) if self._entries else None

    def _enrol(self) -> None:
        entry_id, seed = self._fresh()
        fields = {"entry_id": entry_id, "person_id": f"p{self._number}"}
        self._ask("enrol", upload("/gallery", crop(seed), **fields), [201])
        self._entries[entry_id] = seed

    def _batch(self) -> None:
        fresh = [self._fresh() for _ in range(4)]
        entries = [{"modality": "visible", "entry_id": entry_id} for entry_id, _ in fresh]
        files = [("files", crop(seed)) for _, seed in fresh[:3]]
        files.append(("files", b"no image"))
        body = form({"entries": json.dumps(entries)}, *files)
        results = self._ask("batch", post("/gallery/batch", body), [200]).json()["results"]
        assert [item["status"] for item in results] == [201, 201, 201, 415]
        self._entries.update(fresh[:3])

    def _query(self) -> None:
        entry = self._some_entry()
        seed = entry[1] if entry else 1
        body = self._ask("query", upload("/query", crop(seed)), [200]).json()
        if entry:
            assert body["matches"][0]["entry_id"] == entry[0], body["matches"][0]

    def _compare(self) -> None:
        answer = self._ask("compare", upload("/compare", crop(self._next), crop(self._next)), [200])
        assert answer.json()["similarity"] > 0.999

    def _embed(self) -> None:
        self._ask("embed", upload("/embed", crop(self._next)), [200])

    def _list(self) -> None:
        request = head("GET", f"/gallery?limit=1000&person_id=p{self._number}")
        listed = self._ask("list", request, [200]).json()["entries"]
        assert {entry["entry_id"] for entry in listed} <= self._entries.keys()

    def _crop(self) -> None:
        if entry := self._some_entry():
            answer = self._ask("crop", head("GET", f"/gallery/{entry[0]}/crop"), [200])
            assert answer.body == crop(entry[1])

    def _change(self) -> None:
        if entry := self._some_entry():
            body = b'{"camera_id": "%d"}' % self._chance.randint(1, 9)
            request = head("PATCH", f"/gallery/{entry[0]}", Content_Length=len(body)) + body
            self._ask("change", request, [200])

    def _delete(self) -> None:
        if entry := self._some_entry():
            self._ask("delete", head("DELETE", f"/gallery/{entry[0]}"), [204])
            del self._entries[entry[0]]
            self._ask("gone", head("GET", f"/gallery/{entry[0]}"), [404])

    def _erase(self) -> None:
        """Erase our person; what a batch enrolled without one is deleted."""
        request = head("DELETE", f"/persons/p{self._number}")
        answer = self._ask("erase", request, [200, 404])
        for entry_id in answer.json().get("entry_ids", []):
            del self._entries[entry_id]
        for _ in range(5):
            self._delete()

    def _bad(self) -> None:
        path = self._chance.choice(["/embed", "/query", "/compare"])
        crops = [damaged(self._chance, self._files)] * (2 if path == "/compare" else 1)
        self._ask("bad", upload(path, *crops), [200, *REFUSED])

    def _leave(self) -> None:
        """Leave at any point of a request."""
        request = upload(self._chance.choice(["/query", "/embed"]), crop(self._next))
        with Wire(self._url) as wire:
            wire.send(request[: self._chance.choice([10, len(request) // 2, len(request)])])
        self.counts["left 0"] += 1

    def _look(self, name: str, path: str) -> None:
        self._ask(name, head("GET", path), [200])

    def _reconnect(self) -> None:
        self.wire.close()
        self.wire = Wire(self._url)
