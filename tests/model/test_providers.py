"""Which provider is chosen on which machine, and what happens when it does not start."""

from pathlib import Path

import pytest

from model.artifact import ModelArtifact
from model.config import MPANetConfig
from model.errors import ProviderError
from model.providers import (
    CpuFeatures,
    ProviderChoice,
    choose_provider,
    open_session,
    provider_options,
)

TRT = "TensorrtExecutionProvider"
CUDA = "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
CPU = "CPUExecutionProvider"
WITH_BF16 = CpuFeatures(bf16=True)
WITHOUT = CpuFeatures(bf16=False)
CONFIG = MPANetConfig(backbone="resnet50", image_size=(384, 128), num_patterns=6)


@pytest.mark.parametrize(
    ("requested", "available", "cpu", "name", "precision"),
    [
        ("auto", [TRT, CUDA, CPU], WITH_BF16, "cuda", "tf32"),
        ("auto", [CUDA, OPENVINO, CPU], WITH_BF16, "cuda", "tf32"),
        ("auto", [OPENVINO, CPU], WITH_BF16, "openvino", "bf16"),
        ("auto", [OPENVINO, CPU], WITHOUT, "cpu", "fp32"),
        ("auto", [CPU], WITH_BF16, "cpu", "fp32"),
        ("auto", ["AzureExecutionProvider", CPU], WITH_BF16, "cpu", "fp32"),
        ("tensorrt", [TRT, CUDA, CPU], WITHOUT, "tensorrt", "fp16"),
        ("cuda", [TRT, CUDA, CPU], WITHOUT, "cuda", "tf32"),
        ("openvino", [OPENVINO, CPU], WITHOUT, "openvino", "fp32"),
        ("cpu", [CUDA, OPENVINO, CPU], WITH_BF16, "cpu", "fp32"),
    ],
)
def test_choice(
    requested: str, available: list[str], cpu: CpuFeatures, name: str, precision: str
) -> None:
    choice = choose_provider(requested, available, cpu)
    assert (choice.name, choice.precision) == (name, precision)


def test_a_missing_choice_names_what_is_there() -> None:
    with pytest.raises(ProviderError, match=r"\(auto, openvino, cpu\), got 'cuda'"):
        choose_provider("cuda", [OPENVINO, CPU], WITH_BF16)
    with pytest.raises(ProviderError, match=r"\(auto, cpu\), got 'gpu'"):
        choose_provider("gpu", [CPU], WITH_BF16)


def test_precision_can_be_asked_for_where_the_provider_has_it() -> None:
    assert choose_provider("cuda", [CUDA, CPU], WITHOUT, "fp32").precision == "fp32"
    assert choose_provider("openvino", [OPENVINO, CPU], WITH_BF16, "fp32").precision == "fp32"
    with pytest.raises(ProviderError, match="openvino computes in fp32 here, not in 'bf16'"):
        choose_provider("openvino", [OPENVINO, CPU], WITHOUT, "bf16")
    with pytest.raises(ProviderError, match="cpu computes in fp32 here, not in 'fp16'"):
        choose_provider("cpu", [CPU], WITH_BF16, "fp16")


@pytest.mark.parametrize(
    ("flags", "bf16"),
    [
        ("fpu avx512f avx512_bf16", True),
        ("fpu amx_bf16 amx_tile", True),
        ("fpu avx2 avx512f", False),
        ("fpu xamx_bf16", False),
    ],
)
def test_processor_flags_are_read(tmp_path: Path, flags: str, bf16: bool) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(f"processor\t: 0\nmodel name\t: X\nflags\t\t: {flags}\n\n")
    assert CpuFeatures.read(cpuinfo).bf16 is bf16


def test_a_machine_without_cpuinfo_counts_as_without_bf16(tmp_path: Path) -> None:
    assert not CpuFeatures.read(tmp_path / "none").bf16


def test_options_are_those_that_the_runtime_takes() -> None:
    openvino = provider_options(ProviderChoice("openvino", "bf16"), CONFIG, 2)
    assert openvino["load_config"] == '{"CPU": {"INFERENCE_PRECISION_HINT": "bf16"}}'
    assert openvino["num_of_threads"] == "2"
    assert provider_options(ProviderChoice("cuda", "fp32"), CONFIG, None) == {"use_tf32": "0"}
    tensorrt = provider_options(ProviderChoice("tensorrt", "fp16"), CONFIG, None)
    assert tensorrt["trt_fp16_enable"] == "True"
    assert tensorrt["trt_profile_max_shapes"] == "image:32x3x384x128"


@pytest.mark.filterwarnings("ignore:Specified provider")
def test_auto_goes_on_where_an_installed_provider_does_not_start(
    small_artifact: ModelArtifact, caplog: pytest.LogCaptureFixture
) -> None:
    path, config = small_artifact.onnx_path, small_artifact.config
    available = [CUDA, CPU]  # listed, but this build of the runtime cannot start it
    opened = open_session(path, config, requested="auto", available=available)
    assert opened.choice.name == "cpu"
    assert "provider cuda does not start" in caplog.text
    with pytest.raises(ProviderError, match="provider cuda did not start"):
        open_session(path, config, requested="cuda", available=available)
