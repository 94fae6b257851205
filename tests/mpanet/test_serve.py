"""`mpanet serve` as a process with real sockets: start, work, stop, start again, refuse."""

import os
import signal
import socket
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from gallery_index.gallery import Gallery
from model.artifact import ModelArtifact
from mpanet.cli import build_parser, main
from mpanet.commands.serve import OPTIONS, settings_from
from mpanet.errors import CommandError
from service.client import ServiceClient, ServiceError
from service.settings import ServiceSettings
from tests.mpanet.serving import environment, run_mpanet, service
from tests.service.fakes import crop
from tests.service.refresh.bad_artifacts import write_model
from tests.service.tiny_artifact import write_tiny_artifact


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_artifact(tmp_path_factory.mktemp("artifact") / "tiny").directory


def matches(client: ServiceClient) -> list[tuple[str, float]]:
    answer = client.query([crop(2)], "infrared")
    return [(match["entry_id"], match["similarity"]) for match in answer["matches"]]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_what_was_acknowledged_is_there_after_a_restart(
    model: Path, tmp_path: Path, number: signal.Signals
) -> None:
    data = tmp_path / "data"
    with service(model, data) as first, ServiceClient(first.url) as client:
        for seed in range(3):
            client.enroll(crop(seed), "visible", entry_id=f"e{seed}", person_id=f"p{seed}")
        client.delete("e0")
        before = matches(client)
        assert before[0][0] == "e2"
        assert client.ready()["durability"] == "power-loss"
        code = first.stop(number)
        if number != signal.SIGKILL:
            assert code == 0, first.lines
            assert not any("Traceback" in line for line in first.lines)
    with service(model, data) as second, ServiceClient(second.url) as client:
        assert matches(client) == before
        assert [entry["entry_id"] for entry in client.list()] == ["e1", "e2"]


def test_a_gallery_that_was_switched_answers_with_its_own_model(
    model: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    other = write_model(data / "models" / "by-hand", little=0.5)
    first = ModelArtifact.load(model).model_id
    dim = other.config.embedding_dim
    with closing(Gallery.open(data, model_id=first, embedding_dim=dim)) as gallery:
        gallery.begin_refresh(other.model_id, dim)
        gallery.switch(lambda crops: [])
    with service(model, data) as running, ServiceClient(running.url) as client:
        assert client.models()["active"] == other.model_id
        assert client.query([crop(1)], "visible")["model_id"] == other.model_id
        assert running.stop(signal.SIGTERM) == 0


def test_bodies_over_real_sockets(model: Path, tmp_path: Path) -> None:
    """A body too long is refused whether its length is announced or not; the service goes on."""
    options = ("--max-upload-bytes", "50000", "--max-request-bytes", "100000")
    with service(model, tmp_path / "data", *options) as running:
        with httpx.Client(base_url=running.url) as http:
            announced = http.post(
                "/embed", files={"file": bytes(5_000_000)}, data={"modality": "visible"}
            )
            assert announced.status_code == 413
            head = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
            chunked = http.post(
                "/embed",
                headers={"Content-Type": "multipart/form-data; boundary=b"},
                content=(head if index == 0 else bytes(10_000) for index in range(200)),
            )
            assert chunked.status_code == 413
        with socket.create_connection(_host_and_port(running.url)) as leaving:
            head = b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5000\r\n\r\n"
            leaving.sendall(head + b"half")
        with ServiceClient(running.url) as client:
            assert client.embed(crop(1), "visible")["dimension"] == 3072
        assert running.stop(signal.SIGTERM) == 0
        assert not any("Traceback" in line for line in running.lines)


def test_beyond_this_machine_only_for_those_with_a_key(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    keys = environment(MPANET_API_KEY="key-one, key-two", MPANET_HOST="0.0.0.0")
    crops = tmp_path / "crops"
    crops.mkdir()
    (crops / "a.png").write_bytes(crop(1))
    with service(model, tmp_path / "data", env=keys) as running:
        url = running.url.replace("0.0.0.0", "127.0.0.1")
        command = ["enroll", str(crops), "--modality", "visible", "--url", url]
        monkeypatch.delenv("MPANET_API_KEY", raising=False)
        assert main(command) == 2
        assert "401 (key_required)" in capsys.readouterr().err
        assert main([*command, "--api-key", "another"]) == 2
        assert "401 (key_unknown)" in capsys.readouterr().err
        monkeypatch.setenv("MPANET_API_KEY", "key-two")
        assert main(command) == 0
        assert "enrolled 1" in capsys.readouterr().out
        assert not any("key-" in line for line in running.lines)


def test_a_second_service_on_one_gallery_is_told_who_has_it(model: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    with service(model, data) as running:
        second = run_mpanet("serve", "--model", str(model), "--data", str(data), "--port", "0")
        line = second.error_line()
        assert str(data) in line
        assert str(running.process.pid) in line


def test_a_taken_port_is_one_line(model: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = run_mpanet(
            "serve", "--model", str(model), "--data", str(tmp_path), "--port", str(port)
        ).error_line()
    assert f"127.0.0.1:{port}" in line
    assert "in use" in line


def test_an_artifact_that_was_changed_is_refused_by_name(model: Path, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    changed.mkdir()
    (changed / "manifest.json").write_bytes((model / "manifest.json").read_bytes())
    (changed / "model.onnx").write_bytes((model / "model.onnx").read_bytes() + b"\0")
    line = run_mpanet(
        "serve", "--model", str(changed), "--data", str(tmp_path / "data"), "--port", "0"
    ).error_line()
    assert str(changed / "model.onnx") in line
    assert not (tmp_path / "data").exists()


def test_redis_that_is_not_there_is_one_line_without_its_password(
    model: Path, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    line = run_mpanet(
        *("serve", "--model", str(model), "--data", str(tmp_path / "data"), "--port", "0"),
        *("--redis-url", f"redis://:hunter2@127.0.0.1:{port}/0"),
    ).error_line()
    assert str(port) in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("options", "variables", "expected"),
    [
        ([], {}, "--model (or MPANET_MODEL) is required"),
        (["--host", "0.0.0.0"], {}, "--insecure"),
        (["--port", "x"], {}, "--port"),
        ([], {"MPANET_THREAD": "2"}, "did you mean MPANET_THREADS?"),
        (["--treads", "2"], {}, "--treads"),
    ],
)
def test_a_usage_error_is_one_line(
    options: list[str], variables: dict[str, str], expected: str
) -> None:
    given = [] if expected.startswith("--model") else ["--model", "m", "--data", "d"]
    finished = run_mpanet("serve", *given, *options, env=environment(**variables))
    assert expected in finished.error_line()


def settings(monkeypatch: pytest.MonkeyPatch, *options: str, **variables: str) -> ServiceSettings:
    for name in [name for name in os.environ if name.startswith("MPANET_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return settings_from(build_parser().parse_args(["serve", *options]), {"data": "default"})


def test_command_line_over_environment_over_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    by_default = settings(monkeypatch, "--model", "m")
    assert (by_default.data, by_default.port) == (Path("default"), 8000)
    by_environment = settings(monkeypatch, "--model", "m", MPANET_DATA="env", MPANET_PORT="1")
    assert (by_environment.data, by_environment.port) == (Path("env"), 1)
    options = ("--model", "m", "--data", "given", "--port", "2")
    by_option = settings(monkeypatch, *options, MPANET_DATA="env", MPANET_PORT="1")
    assert (by_option.data, by_option.port) == (Path("given"), 2)


def test_demo_names_the_bundled_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for chosen in (
        settings(monkeypatch, "--model", "demo"),
        settings(monkeypatch, MPANET_MODEL="demo"),
    ):
        assert chosen.model.parts[-2:] == ("mpanet", "demo_model")
    assert settings(monkeypatch, "--model", "./other/demo").model == Path("other/demo")


def test_every_setting_has_an_option_but_the_key() -> None:
    options = {name.replace("-", "_") for name in OPTIONS} | {"insecure"}
    assert options == set(ServiceSettings.model_fields) - {"api_key"}


def test_a_bad_setting_is_a_command_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CommandError, match="--max-batch"):
        settings(monkeypatch, "--model", "m", "--max-batch", "0")


def test_nobody_there(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port = unused.getsockname()[1]
    with (
        ServiceClient(f"http://127.0.0.1:{port}") as client,
        pytest.raises(ServiceError, match=str(port)),
    ):
        client.models()


def _host_and_port(url: str) -> tuple[str, int]:
    parsed = httpx.URL(url)
    assert parsed.port is not None
    return parsed.host, parsed.port


def test_an_evaluation_set_that_is_not_there_is_found_out_at_the_start(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--model", str(model), "--data", str(tmp_path / "data"), "--port", "0"]
    assert main(["serve", *where, "--evaluation-set", str(tmp_path / "nowhere")]) == 2
    assert "nowhere: no such dataset folder" in capsys.readouterr().err
    assert not (tmp_path / "data").exists()
