"""`mpanet enroll`: which crops are sent, what is said of them, and running it again."""

import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from mpanet.cli import main
from mpanet.enrolment_summary import Summary
from service.client import ServiceClient, ServiceError
from tests.mpanet.serving import service
from tests.service.fakes import crop
from tests.service.tiny_artifact import write_tiny_artifact


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    directory = tmp_path_factory.mktemp("service")
    model = write_tiny_artifact(directory / "tiny").directory
    with service(model, directory / "data", "--max-upload-bytes", "50000") as running:
        yield running.url


@pytest.fixture
def client(url: str) -> Iterator[ServiceClient]:
    with ServiceClient(url) as client:
        yield client
        for entry in list(client.list()):
            client.delete(entry["entry_id"])


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def table(path: Path, columns: Sequence[str], *rows: Sequence[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])
    return path


def enroll(
    capsys: pytest.CaptureFixture[str], path: Path, *options: str
) -> tuple[int, dict[str, Any]]:
    code = main(["enroll", str(path), "--json", *options])
    captured = capsys.readouterr()
    assert captured.out, captured.err
    summary = json.loads(captured.out)
    assert isinstance(summary, dict)
    return code, summary


def usage_error(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(["enroll", *arguments]) == 2
    [line] = capsys.readouterr().err.splitlines()
    return line


@pytest.fixture
def sysu(tmp_path: Path) -> Path:
    root = tmp_path / "sysu"
    for seed, name in enumerate(["cam1/0001/0001", "cam1/0002/0001", "cam3/0001/0001"]):
        write(root / f"{name}.jpg", crop(seed, "JPEG"))
    write(root / "exp" / "train_id.txt", b"1,2")
    return root


def test_a_sysu_folder_says_person_camera_and_modality(
    url: str, client: ServiceClient, sysu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, summary = enroll(capsys, sysu, "--layout", "sysu-mm01", "--url", url)
    assert (code, summary) == (
        0,
        {
            "enrolled": 3,
            "already_there": 0,
            "not_sent": 0,
            "refused_by_code": {},
            "refused": [],
        },
    )
    said = {(e["person_id"], e["camera_id"], e["modality"]) for e in client.list()}
    assert said == {
        ("0001", "cam1", "visible"),
        ("0002", "cam1", "visible"),
        ("0001", "cam3", "infrared"),
    }


def test_only_the_cameras_asked_for(
    url: str, client: ServiceClient, sysu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--layout", "sysu-mm01", "--cameras", "3, 6", "--url", url)
    assert enroll(capsys, sysu, *options)[1]["enrolled"] == 1
    assert [entry["modality"] for entry in client.list()] == ["infrared"]


def test_running_it_twice_enrols_nothing_twice(
    url: str, client: ServiceClient, sysu: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--layout", "sysu-mm01", "--url", url, "--batch-size", "2")
    enroll(capsys, sysu, *options)
    write(sysu / "cam2" / "0001" / "0001.jpg", crop(7, "JPEG"))
    code, summary = enroll(capsys, sysu, *options)
    assert (code, summary["enrolled"], summary["already_there"]) == (0, 1, 3)
    assert summary["refused"] == []
    assert len(list(client.list())) == 4


def test_a_file_that_changed_is_a_new_crop(
    url: str, client: ServiceClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "crops" / "a.png", crop(1)).parent
    options = ("--modality", "visible", "--url", url)
    enroll(capsys, folder, *options)
    write(folder / "a.png", crop(2))
    assert enroll(capsys, folder, *options)[1]["enrolled"] == 1
    assert len(list(client.list())) == 2


def test_what_is_refused_is_named_with_its_reason_and_the_rest_enrolled(
    url: str, client: ServiceClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "crops"
    for seed in range(4):
        write(folder / "sub" / f"{seed}.png", crop(seed))
    write(folder / "broken.jpg", b"no image")
    write(folder / "heavy.png", crop(5) + bytes(60_000))
    write(folder / "notes.txt", b"not sent")
    code, summary = enroll(
        capsys, folder, "--modality", "infrared", "--camera-id", "door", "--url", url
    )
    assert code == 1
    assert summary["enrolled"] == 4
    reasons = {item["path"]: item["reason"].split(":")[0] for item in summary["refused"]}
    assert reasons == {"broken.jpg": "unsupported_image", "heavy.png": "too_many_bytes"}
    assert {(e["modality"], e["camera_id"]) for e in client.list()} == {("infrared", "door")}


def test_a_table_says_what_it_says_of_each_crop(
    url: str, client: ServiceClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "img" / "a.png", crop(1))
    write(tmp_path / "img" / "b.png", crop(2))
    rows = table(
        tmp_path / "list.csv",
        ["path", "person_id", "camera_id", "modality", "captured_at", "entry_id", "split"],
        ["img/a.png", "p", "c", "infrared", "2026-01-01T00:00:00Z", "mine", "train"],
        ["img/b.png", "", "", "", "", "", "test"],
        ["img/gone.png", "", "", "", "", "", ""],
    )
    code, summary = enroll(capsys, rows, "--modality", "visible", "--url", url)
    assert (code, summary["enrolled"]) == (1, 2)
    [refused] = summary["refused"]
    assert refused["path"] == "img/gone.png"
    assert "No such file" in refused["reason"]
    first, second = client.list()
    assert (first["entry_id"], first["person_id"], first["modality"]) == ("mine", "p", "infrared")
    assert (second["person_id"], second["modality"]) == (None, "visible")
    assert enroll(capsys, rows, "--modality", "visible", "--url", url)[1]["already_there"] == 2


def test_the_summary_for_people(
    url: str, client: ServiceClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "crops" / "a.png", crop(1)).parent
    write(folder / "b.png", b"text")
    assert main(["enroll", str(folder), "--modality", "visible", "--url", url]) == 1
    captured = capsys.readouterr()
    heading, example, last = captured.out.splitlines()
    assert heading == "refused 1 as unsupported_image:"
    assert example.startswith("  b.png: not an image")
    assert last == "enrolled 1, already there 0, refused 1"
    assert "enrolling" in captured.err  # the progress bar


def test_the_refused_are_left_as_a_table(
    url: str, client: ServiceClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "crops" / "b.png", b"text").parent
    refused = tmp_path / "refused.csv"
    options = ("--modality", "visible", "--refused", str(refused), "--url", url)
    assert enroll(capsys, folder, *options)[0] == 1
    with refused.open(newline="") as file:
        [row] = csv.DictReader(file)
    assert (row["path"], row["code"]) == ("b.png", "unsupported_image")


def test_an_interruption_says_what_was_done_and_exits_130(
    url: str,
    client: ServiceClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(40):
        write(tmp_path / "crops" / f"{seed:02d}.png", crop(seed))

    def interrupt(self: Summary, settled: Iterable[tuple[str, Any]]) -> None:
        count(self, settled)
        if self.enrolled == 1:
            raise KeyboardInterrupt

    count = Summary.count
    monkeypatch.setattr(Summary, "count", interrupt)
    arguments = ["enroll", str(tmp_path / "crops"), "--modality", "visible", "--json"]
    assert main([*arguments, "--batch-size", "1", "--url", url]) == 130
    captured = capsys.readouterr()
    summary = json.loads(captured.out)
    assert summary["enrolled"] == len(list(client.list()))
    assert 1 <= summary["enrolled"] < 40
    assert summary["not_sent"] == 40 - summary["enrolled"]
    assert "interrupted" in captured.err


def test_a_refusal_of_the_whole_says_what_was_done_before(
    url: str,
    client: ServiceClient,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for seed in range(6):
        write(tmp_path / "crops" / f"{seed}.png", crop(seed))
    send = ServiceClient.enroll_batch
    calls: list[int] = []

    def revoked_later(self: ServiceClient, *content: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise ServiceError({"status": 401, "code": "unauthorized", "detail": "no such key"})
        return send(self, *content, **options)

    monkeypatch.setattr(ServiceClient, "enroll_batch", revoked_later)
    options = ["--modality", "visible", "--batch-size", "1", "--requests", "1", "--url", url]
    assert main(["enroll", str(tmp_path / "crops"), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out.splitlines() == ["enrolled 2, already there 0, refused 0, not sent 4"]
    assert "401 (unauthorized): no such key" in captured.err


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        (["path", "colour"], ["a.png", "red"], "'colour'"),
        (["file", "modality"], ["a.png", "visible"], "'file'"),
        (["modality"], ["visible"], "`path`"),
        (["path"], ["a.png"], "line 2: no modality"),
        (["path", "modality"], ["a.png", "visible", "x"], "line 2"),
        (["path", "modality"], ["", "visible"], "line 2"),
    ],
)
def test_a_table_that_cannot_be_used_is_one_line(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    columns: list[str],
    row: list[str],
    expected: str,
) -> None:
    rows = table(tmp_path / "list.csv", columns, row)
    assert expected in usage_error(capsys, str(rows))


def test_other_usage_errors_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "bytes.csv", b"\xff\xfe\x00")
    empty = tmp_path / "empty"
    empty.mkdir()
    for arguments, expected in [
        ([str(tmp_path / "nowhere")], "nowhere"),
        ([str(empty)], "--modality"),
        ([str(empty), "--modality", "visible"], "came none"),
        ([str(empty), "--layout", "sysu-mm01"], "cam{n}"),
        ([str(empty), "--layout", "sysu-mm01", "--cameras", "7"], "came 7"),
        ([str(empty), "--layout", "sysu-mm01", "--modality", "visible"], "modality"),
        ([str(empty), "--modality", "visible", "--batch-size", "0"], "--batch-size"),
        ([str(empty), "--modality", "visible", "--requests", "33"], "came 33"),
        ([str(empty), "--modality", "visible", "--outage-s", "-1"], "came -1"),
        ([str(empty), "--modality", "visible", "--refused", "no/where.csv"], "--refused"),
        ([str(tmp_path / "bytes.csv")], "UTF-8"),
    ]:
        assert expected in usage_error(capsys, *arguments)


def test_nobody_there_and_a_wrong_address(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "crops" / "a.png", crop(1)).parent
    options = ["enroll", str(folder), "--modality", "visible", "--url"]
    assert main([*options, "http://127.0.0.1:9"]) == 1
    assert "no service answers" in capsys.readouterr().err
    assert main([*options, "127.0.0.1:8000"]) == 2
    assert "http://" in capsys.readouterr().err
