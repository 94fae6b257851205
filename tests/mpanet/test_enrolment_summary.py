"""What people, programs and tables are told of an enrolment."""

import csv
from pathlib import Path
from typing import Any

from mpanet.crop_files import Refused
from mpanet.enrolment_summary import Summary

NEW: dict[str, Any] = {"status": 201, "entry": {}}
REPLAYED: dict[str, Any] = {"status": 201, "entry": {}, "replayed": True}


def refused(code: str, detail: str = "why") -> dict[str, Any]:
    return {"status": 422, "problem": {"code": code, "detail": detail}}


def summary() -> Summary:
    found = Summary()
    found.count([("new", NEW), ("old", REPLAYED), ("a.jpg", refused("broken", "no image"))])
    found.count([(f"{index}.jpg", refused("heavy")) for index in (4, 2, 3, 1)])
    found.count([("gone.jpg", Refused("unreadable_file", "No such file"))])
    return found


def test_people_see_each_reason_with_a_few_examples_the_most_frequent_first() -> None:
    assert summary().lines(10) == [
        "refused 4 as heavy:",
        "  1.jpg: why",
        "  2.jpg: why",
        "  3.jpg: why",
        "  and 1 more",
        "refused 1 as broken:",
        "  a.jpg: no image",
        "refused 1 as unreadable_file:",
        "  gone.jpg: No such file",
        "enrolled 1, already there 1, refused 6, not sent 2",
    ]


def test_what_was_sent_to_its_end_has_nothing_left() -> None:
    assert summary().lines(8)[-1] == "enrolled 1, already there 1, refused 6"


def test_programs_get_all_of_it() -> None:
    document = summary().document(10)
    names = [item["path"] for item in document.pop("refused")]  # type: ignore[attr-defined]
    assert names == ["1.jpg", "2.jpg", "3.jpg", "4.jpg", "a.jpg", "gone.jpg"]
    assert document == {
        "enrolled": 1,
        "already_there": 1,
        "not_sent": 2,
        "refused_by_code": {"heavy": 4, "broken": 1, "unreadable_file": 1},
    }


def test_the_table_of_what_was_refused(tmp_path: Path) -> None:
    found = Summary()
    found.count([("b,1.jpg", refused("broken", 'not "an" image')), ("a.jpg", refused("heavy"))])
    found.write_refused(tmp_path / "refused.csv")
    with (tmp_path / "refused.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["path", "code", "detail"],
            ["a.jpg", "heavy", "why"],
            ["b,1.jpg", "broken", 'not "an" image'],
        ]
