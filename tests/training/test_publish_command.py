"""`mpanet train --publish`: what reaches the service, and what is left when nothing does."""

import argparse
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from model.artifact import ModelArtifact
from mpanet.cli import build_parser, main
from mpanet.errors import CommandError
from mpanet.publishing import MODEL, publish_run
from service.client import ServiceError
from tests.training.test_command_line import RECIPE
from training.synthetic.write import synthesize


class Scripted:
    """A service that has a job done when it is asked to activate; or refuses."""

    def __init__(self, *, refusal: ServiceError | None = None) -> None:
        self.refusal = refusal
        self.calls: list[str] = []
        self.published: list[ModelArtifact] = []
        self.told: dict[str, Any] = {}

    def __enter__(self) -> "Scripted":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        self.calls.append("close")

    def models(self) -> dict[str, Any]:
        self.calls.append("models")
        return {}

    def publish_model(self, directory: Path) -> dict[str, Any]:
        self.calls.append("publish")
        if self.refusal is not None:
            raise self.refusal
        self.published.append(ModelArtifact.load(directory))
        return {}

    def activate(self, model_id: str, **told: Any) -> dict[str, Any]:
        self.calls.append(f"activate {model_id}")
        self.told = told
        return {"job_id": "7"}

    def job(self, job_id: str) -> dict[str, Any]:
        left = {"phase": None, "crops_per_s": None, "seconds_left": None}
        return {"status": "done", "total": 1200, "done": 1200, **left}


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("rendered") / "people"
    synthesize(
        data, layout="sysu-mm01", persons=8, seed=1, images_per_camera=1, test_persons=3, workers=1
    )
    return data


@pytest.fixture
def command(people: Path, tmp_path: Path) -> list[str]:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(RECIPE)
    data = ["--dataset", "sysu-mm01", "--data", str(people), "--recipe", str(recipe)]
    return ["train", *data, "--out", str(tmp_path / "run")]


def connected(monkeypatch: pytest.MonkeyPatch, service: Scripted) -> list[argparse.Namespace]:
    asked: list[argparse.Namespace] = []

    def connect(args: argparse.Namespace) -> Scripted:
        asked.append(args)
        return service

    monkeypatch.setattr("mpanet.publishing.connect", connect)
    return asked


def test_the_trained_model_is_measured_published_and_activated(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = Scripted()
    asked = connected(monkeypatch, service)
    publish = ["--publish", "http://somewhere:8000", "--key", "k", "--override", "evaluation"]
    assert main([*command, *publish]) == 0
    assert {(args.url, args.api_key) for args in asked} == {("http://somewhere:8000", "k")}
    [artifact] = service.published
    assert artifact.directory == tmp_path / "run" / MODEL
    [(protocol, figures)] = artifact.manifest.metrics.items()
    assert protocol.startswith("sysu-mm01: SYSU-MM01 all search, 1-shot; ")
    assert set(figures) == {"rank1", "rank5", "rank10", "rank20", "mAP"}
    assert artifact.manifest.source.recipe == "tiny"
    activated = f"activate {artifact.model_id}"
    assert service.calls == ["models", "close", "models", "publish", activated, "close"]
    assert service.told["override"] == ["evaluation"]
    printed = capsys.readouterr()
    assert f"{artifact.model_id} is active; 1,200 entries have its embeddings" in printed.out
    assert "next: mpanet export" not in printed.err


def test_a_service_that_refuses_leaves_the_model_in_the_run(
    command: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """And data that is not there by then measures nothing."""
    assert main(command) == 0
    refusal = ServiceError({"status": 507, "code": "storage_full", "detail": "no room"})
    connected(monkeypatch, Scripted(refusal=refusal))
    args = build_parser().parse_args([*command, "--publish", "http://somewhere:8000"])
    args.data = tmp_path / "gone"
    with pytest.raises(CommandError, match=r"507 \(storage_full\): no room; the model is in"):
        publish_run(args, tmp_path / "run" / "last.ckpt")
    assert "the model is not measured: " in capsys.readouterr().err
    assert ModelArtifact.load(tmp_path / "run" / MODEL).manifest.metrics == {}


def test_a_service_that_is_not_there_is_found_out_before_the_training(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--publish", "http://127.0.0.1:9"]) == 1
    assert "no service answers: http://127.0.0.1:9" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option", [["--key", "k"], ["--override", "evaluation"], ["--reclaim-kept"]]
)
def test_what_is_about_publishing_goes_with_it(
    command: list[str], option: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, *option]) == 2
    assert "go with --publish" in capsys.readouterr().err
