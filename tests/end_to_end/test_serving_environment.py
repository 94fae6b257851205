"""The environment that serves: only the `cpu` extra is in it."""

import subprocess

import pytest

from tests.end_to_end.serving import SERVE_BIN


@pytest.mark.parametrize("name", ["torch", "torchvision", "lightning", "onnx", "pytest"])
def test_serving_installs_nothing_of_training_or_testing(name: str) -> None:
    done = subprocess.run([SERVE_BIN / "python", "-c", f"import {name}"], capture_output=True)
    assert b"ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("name", ["faiss", "onnxruntime", "service.app", "mpanet.demonstration"])
def test_what_serving_needs_is_there(name: str) -> None:
    subprocess.run([SERVE_BIN / "python", "-c", f"import {name}"], check=True)
