"""Which ONNX Runtime execution provider runs a graph, at which precision, and sessions on it.

The choice is a pure function of what is asked for, what the installed runtime has and what the
processor can do. Opening a session checks that the provider is really in use: ONNX Runtime goes on
with the CPU provider without an exception when another one cannot start.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as runtime_state

from model.config import MPANetConfig
from model.errors import ProviderError

ProviderName = Literal["tensorrt", "cuda", "openvino", "cpu"]
Precision = Literal["fp32", "tf32", "bf16", "fp16"]

ORT_NAMES: dict[ProviderName, str] = {
    "tensorrt": "TensorrtExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": "CPUExecutionProvider",
}
PRECISIONS: dict[ProviderName, tuple[Precision, ...]] = {  # the default first
    "tensorrt": ("fp16", "fp32"),
    "cuda": ("tf32", "fp32"),
    "openvino": ("bf16", "fp32"),
    "cpu": ("fp32",),
}
BF16_FLAGS = frozenset({"amx_bf16", "avx512_bf16"})
LARGEST_BATCH = 32
# ONNX Runtime's exceptions have no common parent of their own.
RUNTIME_ERRORS: tuple[type[Exception], ...] = (
    RuntimeError,
    ValueError,
    OSError,
    *(
        kind
        for kind in vars(runtime_state).values()
        if isinstance(kind, type) and issubclass(kind, Exception)
    ),
)
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CpuFeatures:
    """What of the processor decides a precision."""

    bf16: bool

    @classmethod
    def read(cls, cpuinfo: Path = Path("/proc/cpuinfo")) -> "CpuFeatures":
        """Read the flags of Linux's `cpuinfo`; a machine without that file counts as without."""
        try:
            lines = cpuinfo.read_text().splitlines()
        except OSError:
            return cls(bf16=False)
        flags = next((line for line in lines if line.startswith("flags")), "")
        return cls(bf16=not BF16_FLAGS.isdisjoint(flags.split()))


@dataclass(frozen=True)
class ProviderChoice:
    """A provider and the precision that it computes in."""

    name: ProviderName
    precision: Precision

    @property
    def ort_name(self) -> str:
        """What ONNX Runtime calls the provider."""
        return ORT_NAMES[self.name]


@dataclass(frozen=True)
class OpenSession:
    """A session and the choice that it was opened with."""

    session: Any = field(repr=False)
    choice: ProviderChoice


def choose_provider(
    requested: str,
    available: Sequence[str],
    cpu: CpuFeatures,
    precision: str | None = None,
) -> ProviderChoice:
    """Choose among the providers that ONNX Runtime says are `available`.

    `auto`: CUDA where it is there; OpenVINO at bf16 where the processor computes bf16; else the
    CPU provider at fp32, which OpenVINO's fp32 does not beat. TensorRT only on request.
    `precision` overrides the provider's own default.

    Raises:
        ProviderError: an unknown name or precision, or a provider that is not there; the message
            names those that are.
    """
    name = _automatic(available, cpu) if requested == "auto" else _explicit(requested, available)
    allowed = PRECISIONS[name]
    if name == "openvino" and not cpu.bf16:
        allowed = ("fp32",)
    if precision is None:
        return ProviderChoice(name, allowed[0])
    for known in allowed:
        if known == precision:
            return ProviderChoice(name, known)
    raise ProviderError(
        f"provider {name} computes in {' or '.join(allowed)} here, not in {precision!r}"
    )


def open_session(
    onnx_path: Path,
    config: MPANetConfig,
    *,
    requested: str,
    precision: str | None = None,
    threads: int | None = None,
    available: Sequence[str] | None = None,
    cpu: CpuFeatures | None = None,
) -> OpenSession:
    """Open a graph on the provider of choice; `threads` None leaves their number to the runtime.

    `auto` goes on to the next provider when one that is installed does not start (a GPU build on a
    machine without a GPU); an explicit choice does not. `available` and `cpu` are this machine's
    unless given.

    Raises:
        ProviderError: no such provider, or it does not start or refuses the graph.
    """
    remaining = list(available if available is not None else onnxruntime.get_available_providers())
    cpu = cpu or CpuFeatures.read()
    while True:
        choice = choose_provider(requested, remaining, cpu, precision)
        try:
            return OpenSession(_session_on(choice, onnx_path, config, threads), choice)
        except ProviderError as error:
            if requested != "auto" or choice.name == "cpu":
                raise
            log.warning("provider %s does not start, trying the next: %s", choice.name, error)
            remaining.remove(choice.ort_name)


def _automatic(available: Sequence[str], cpu: CpuFeatures) -> ProviderName:
    if ORT_NAMES["cuda"] in available:
        return "cuda"
    if ORT_NAMES["openvino"] in available and cpu.bf16:
        return "openvino"
    return "cpu"


def _explicit(requested: str, available: Sequence[str]) -> ProviderName:
    there = [name for name, ort_name in ORT_NAMES.items() if ort_name in available]
    for name in there:
        if name == requested:
            return name
    raise ProviderError(
        f"expected a provider of this machine (auto, {', '.join(there)}), got {requested!r}"
    )


def _session_on(
    choice: ProviderChoice, onnx_path: Path, config: MPANetConfig, threads: int | None
) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if choice.name == "cpu" and threads is not None:
        options.intra_op_num_threads = threads
    if choice.name == "openvino":  # all of the graph or none: a part on fp32 would hide
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    if choice.name in ("cuda", "tensorrt"):
        onnxruntime.preload_dlls()
    providers = [(choice.ort_name, provider_options(choice, config, threads))]
    if choice.name == "tensorrt":
        providers.append((ORT_NAMES["cuda"], {}))
    try:
        session = onnxruntime.InferenceSession(
            str(onnx_path), options, providers=providers, enable_fallback=0
        )
    except RUNTIME_ERRORS as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ProviderError(f"provider {choice.name} cannot run {onnx_path}: {reason}") from error
    in_use = session.get_providers()
    if in_use[0] != choice.ort_name:
        raise ProviderError(
            f"provider {choice.name} did not start; ONNX Runtime would use {', '.join(in_use)}"
        )
    return session


def provider_options(
    choice: ProviderChoice, config: MPANetConfig, threads: int | None
) -> Mapping[str, str]:
    """The options that ONNX Runtime takes for a choice, as strings."""
    if choice.name == "openvino":
        hint = {"bf16": "bf16", "fp32": "f32"}[choice.precision]
        options = {
            "device_type": "CPU",
            "load_config": json.dumps({"CPU": {"INFERENCE_PRECISION_HINT": hint}}),
        }
        return options if threads is None else options | {"num_of_threads": str(threads)}
    if choice.name == "cuda":
        return {"use_tf32": "1" if choice.precision == "tf32" else "0"}
    if choice.name == "tensorrt":
        height, width = config.image_size
        return {"trt_fp16_enable": "True" if choice.precision == "fp16" else "False"} | {
            f"trt_profile_{bound}_shapes": f"image:{batch}x3x{height}x{width}"
            for bound, batch in (("min", 1), ("opt", 8), ("max", LARGEST_BATCH))
        }
    return {}
