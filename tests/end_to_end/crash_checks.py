"""What must hold once the servers are back: nothing lost, nothing returned, every answer exact."""

import json
import random
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from tests.end_to_end.crash_clients import TOLERANCE, Client, Shared, Unanswered, patch_of
from tests.end_to_end.crash_ledger import Facts, crop_of
from tests.end_to_end.crash_models import similarity

QUERIES = 6
OWN_VECTORS = 25
PAGE = 37
RED = json.dumps({"colour": "red"})

Bodies = dict[str, dict[str, Any]]


def list_everything(http: httpx.Client, **wanted: str) -> Bodies:
    """Return every entry by its id, page by page; no id may come twice."""
    found: Bodies = {}
    cursor: str | None = None
    while True:
        params = {**wanted, "limit": str(PAGE), **({"cursor": cursor} if cursor else {})}
        page = _ok(http.get("/gallery", params=params))
        for body in page["entries"]:
            assert body["entry_id"] not in found, f"{body['entry_id']} is listed twice"
            found[body["entry_id"]] = body
        cursor = page["next_cursor"]
        if cursor is None:
            return found


def check_gallery(
    url: str, clients: Sequence[Client], shared: Shared, chance: random.Random
) -> int:
    """Check everything against everything; returns how many entries there are.

    Afterwards nothing is in doubt: what was is asked again, and must be answered accordingly.
    """
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        listed = list_everything(http)
        facts = {entry_id: Facts.of(body) for entry_id, body in listed.items()}
        _check_ids(facts, clients, shared)
        for client in clients:
            client.ledger.settle(facts)
        for client in clients:
            _ask_again(http, client)
        facts = {entry_id: Facts.of(body) for entry_id, body in list_everything(http).items()}
        for client in clients:
            client.ledger.settle(facts)
        _check_entries(http, facts, chance)
        for _ in range(QUERIES):
            _check_query(http, facts, chance)
        ready = _ok(http.get("/readyz"))
        persons = {each.person_id for each in facts.values()} - {None}
        assert ready["index"]["entries"] == len(facts)
        assert ready["index"]["persons"] == len(persons)
        counts = {"gallery_entries": len(facts), "gallery_persons": len(persons)}
        for name, expected in {**counts, "gallery_damaged_rows": 0, "store_ready": 1}.items():
            assert _metric(http, name) == expected, name
    return len(facts)


def _check_ids(listed: Mapping[str, Facts], clients: Sequence[Client], shared: Shared) -> None:
    """No phantom: each listed id was sent, or was given to an entry sent without one."""
    for entry_id, facts in listed.items():
        if entry_id in shared.fought_for:
            assert facts.seed in shared.fought_for[entry_id]
            continue
        if any(entry_id in client.ledger.states for client in clients):
            continue
        (owner,) = (client for client in clients if str(facts.seed) in client.anonymous)
        assert owner.anonymous.pop(str(facts.seed)) == facts
        owner.ledger.may_enrol(entry_id, facts)
    for client in clients:
        client.anonymous.clear()
    for entry_id, seeds in shared.won.items():
        assert seeds == {listed[entry_id].seed}, f"{entry_id} was promised to {seeds}"


def _ask_again(http: httpx.Client, client: Client) -> None:
    """Send unanswered requests again: the answer is that of a repetition, or of the first time."""
    for doubt in client.unanswered:
        _AGAIN[doubt.kind](http, client, doubt)
    client.unanswered.clear()


def _enrol_again(http: httpx.Client, client: Client, doubt: Unanswered) -> None:
    assert doubt.facts is not None
    (state,) = client.ledger.of(doubt.target)
    client.ledger.erased.discard(str(doubt.facts.person_id))
    client.ledger.may_enrol(doubt.target, doubt.facts)
    response = http.post(
        "/gallery",
        files={"file": crop_of(doubt.facts.seed)},
        data={"entry_id": doubt.target, **doubt.facts.fields()},
    )
    if state is not None and state.seed != doubt.facts.seed:
        assert response.status_code == 409, response.text
        return
    assert response.status_code == 201, response.text
    assert (response.headers.get("Idempotent-Replayed") == "true") == (state is not None)
    client.ledger.is_now(doubt.target, Facts.of(response.json()))


def _delete_again(http: httpx.Client, client: Client, doubt: Unanswered) -> None:
    (state,) = client.ledger.of(doubt.target)
    response = http.delete(f"/gallery/{doubt.target}")
    assert response.status_code == (404 if state is None else 204), response.text
    client.ledger.states[doubt.target] = {None}


def _erase_again(http: httpx.Client, client: Client, doubt: Unanswered) -> None:
    theirs = client.ledger.of_person(doubt.target)
    response = http.delete(f"/persons/{doubt.target}")
    assert response.status_code == (200 if theirs else 404), response.text
    if theirs:
        assert set(response.json()["entry_ids"]) == theirs
        client.ledger.was_erased(doubt.target, theirs)


def _change_again(http: httpx.Client, client: Client, doubt: Unanswered) -> None:
    (state,) = client.ledger.of(doubt.target)
    client.ledger.erased.discard(str(doubt.changes.get("person_id")))
    client.ledger.may_change(doubt.target, doubt.changes)
    response = http.patch(f"/gallery/{doubt.target}", json=patch_of(doubt.changes))
    assert response.status_code == (404 if state is None else 200), response.text
    if state is not None:
        client.ledger.is_now(doubt.target, Facts.of(response.json()))


_AGAIN: dict[str, Callable[[httpx.Client, Client, Unanswered], None]] = {
    "enrol": _enrol_again,
    "delete": _delete_again,
    "erase": _erase_again,
    "change": _change_again,
}


def _check_entries(http: httpx.Client, listed: Mapping[str, Facts], chance: random.Random) -> None:
    """Every crop has its bytes; an entry is found by its own crop, itself and nothing else."""
    for entry_id, facts in listed.items():
        crop = http.get(f"/gallery/{entry_id}/crop")
        assert crop.status_code == 200, crop.text
        assert crop.content == crop_of(facts.seed), f"{entry_id} has another crop"
    for entry_id in chance.sample(sorted(listed), min(OWN_VECTORS, len(listed))):
        (match,), _ = _query(http, listed[entry_id].seed, top_k="1")
        assert match["entry_id"] == entry_id
        assert match["similarity"] > 0.999


def _check_query(http: httpx.Client, listed: Mapping[str, Facts], chance: random.Random) -> None:
    """A search with filters answers as comparing with everything listed does."""
    wanted, passes = _random_filter(listed, chance)
    by_person = chance.random() < 0.3
    top_k = chance.choice([1, 5, 1000])
    seed = chance.choice([9_000_000 + chance.randint(0, 50), *[f.seed for f in listed.values()]])
    matches, model_id = _query(
        http, seed, top_k=str(top_k), group_by="person" if by_person else "entry", **wanted
    )
    exact = {
        entry_id: similarity(seed, facts.seed, model_id)
        for entry_id, facts in listed.items()
        if passes(facts)
    }
    expected = _best_of_each(exact, listed) if by_person else sorted(exact.values(), reverse=True)
    found = [match["similarity"] for match in matches]
    assert len(found) == min(top_k, len(expected)), (wanted, top_k, len(found), len(expected))
    assert np.allclose(found, expected[: len(found)], rtol=0, atol=TOLERANCE), (wanted, by_person)
    assert len({match["entry_id"] for match in matches}) == len(matches)
    for match in matches:
        assert abs(exact[match["entry_id"]] - match["similarity"]) < TOLERANCE, match
        assert match["person_id"] == listed[match["entry_id"]].person_id


def _random_filter(
    listed: Mapping[str, Facts], chance: random.Random
) -> tuple[dict[str, str], Callable[[Facts], bool]]:
    persons = sorted({str(facts.person_id) for facts in listed.values()}) or ["nobody"]
    person, camera, day = chance.choice(persons), chance.choice("123"), "2026-01-14T00:00:00Z"
    choices: list[tuple[dict[str, str], Callable[[Facts], bool]]] = [
        ({}, lambda facts: True),
        ({"person_id": person}, lambda facts: facts.person_id == person),
        ({"camera_id": camera}, lambda facts: facts.camera_id == camera),
        ({"exclude_camera_id": camera}, lambda facts: facts.camera_id != camera),
        ({"exclude_person_id": person}, lambda facts: facts.person_id != person),
        ({"attributes": RED}, lambda facts: facts.attributes == RED),
        ({"target_modality": "infrared"}, lambda facts: facts.modality == "infrared"),
        ({"captured_after": day}, lambda facts: (facts.captured_at or "") >= day),
        ({"captured_before": day}, lambda facts: (facts.captured_at or "~") < day),
    ]
    (wanted, one), (more, other) = chance.choice(choices), chance.choice(choices)
    if wanted.keys() & more.keys():
        return wanted, one
    return {**wanted, **more}, lambda facts: one(facts) and other(facts)


def _best_of_each(exact: Mapping[str, float], listed: Mapping[str, Facts]) -> list[float]:
    """Return the best similarity of each person; an entry without one stands for itself."""
    best: dict[str, float] = {}
    for entry_id, value in exact.items():
        name = listed[entry_id].person_id or f"entry {entry_id}"
        best[name] = max(value, best.get(name, -2.0))
    return sorted(best.values(), reverse=True)


def _metric(http: httpx.Client, name: str) -> float:
    text = http.get("/metrics").text
    found = re.search(rf"^mpanet_{name} (\S+)$", text, re.MULTILINE)
    assert found, text
    return float(found[1])


def check_nothing_of(persons: Iterable[str], directory: Path) -> None:
    """No file of a gallery has the name of an erased person; the audit log is to say who it was."""
    names = [person.encode() for person in persons]
    for path in directory.rglob("*"):
        if path.is_file() and path.parent.name != "audit":
            data = path.read_bytes()
            left = [name for name in names if name in data]
            assert not left, f"{path} still holds {left}"


def _query(http: httpx.Client, seed: int, **fields: str) -> tuple[list[dict[str, Any]], str]:
    """Return the matches of a crop, and the model that the answer names."""
    files = {"file": crop_of(seed)}
    answer = _ok(http.post("/query", files=files, data={"modality": "visible", **fields}))
    matches: list[dict[str, Any]] = answer["matches"]
    assert [match["rank"] for match in matches] == list(range(1, len(matches) + 1))
    return matches, answer["model_id"]


def _ok(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    body: dict[str, Any] = response.json()
    return body
