"""The encoder against torch eager at fp32, on one machine, in one run.

Contenders take turns on the same images, so that a neighbour's load falls on all of them alike;
the median of the rounds counts. Weights are the golden test's random ones: speed does not depend on
them, and the cosine to fp32 can be checked by anyone. With an NVIDIA card, the CUDA provider and
torch run on it too.

    python -m benchmarks.encoder --out encoder.json
"""

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from tqdm import tqdm

from model.artifact import ModelArtifact, write_artifact
from model.config import BackboneName, MPANetConfig
from model.encoder import Encoder
from model.network.export import export_artifact
from model.network.graph import ExportedGraph, serialise, trace
from model.network.mpanet import MPANet
from model.preprocessing import PreprocessingConfig
from model.providers import ORT_NAMES, CpuFeatures
from tests.model.golden import published_state

Images = NDArray[np.float32]
PAUSE_S = 0.05  # lets the threads of one runtime stop spinning before the next one starts
CPUINFO = Path("/proc/cpuinfo")


@dataclass(frozen=True)
class Contender:
    """One way to embed images: (N, 3, H, W) -> (N, D) of length 1. The first one is the measure."""

    name: str
    precision: str
    embed: Callable[[Images], Images]


@dataclass(frozen=True)
class Row:
    """What one contender did at one batch size."""

    batch_size: int
    contender: str
    precision: str
    images_per_second: float
    ratio_to_torch: float
    min_cosine_to_fp32: float


class HalfGraph(nn.Module):
    """The exported graph with its backbone computing in fp16; inputs and outputs stay float32."""

    def __init__(self, network: MPANet) -> None:
        super().__init__()
        self.network = network.half()

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        features = self.network(image.half())
        embedding = features.embedding.float()
        length = torch.linalg.vector_norm(embedding, dim=1, keepdim=True)
        return embedding / length, features.pattern_maps.float()


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON."""
    args = parse(argv)
    config = MPANetConfig(backbone=args.backbone, image_size=tuple(args.image_size), num_patterns=6)
    torch.set_num_threads(args.threads)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        network = golden_network(config)
        artifact, _ = export_artifact(network, directory / "model")
        rows = []
        contenders = on_processor(network, artifact, args.threads, stack)
        rows += measure(contenders, config, args.batch_sizes, args.rounds)
        machine = {"processor": processor(), "threads": args.threads}
        if torch.cuda.is_available():
            contenders = on_card(network, artifact, directory / "half", stack)
            rows += measure(contenders, config, args.card_batch_sizes, args.rounds)
            machine["card"] = torch.cuda.get_device_name()
    result = {
        "machine": machine,
        "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
        "network": config.model_dump(mode="json"),
        "rounds": args.rounds,
        "rows": [asdict(row) for row in rows],
    }
    print(table(result))
    if args.out is not None:
        args.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description="The encoder against torch eager at fp32.")
    parser.add_argument("--out", type=Path, help="where to write the figures as JSON")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, nargs=2, default=(384, 128), metavar=("H", "W"))
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=(1, 8, 32))
    parser.add_argument("--card-batch-sizes", type=int, nargs="+", default=(1, 8, 64))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    return parser.parse_args(argv)


def golden_network(config: MPANetConfig) -> MPANet:
    """The network with the golden test's weights, in evaluation mode."""
    backbone: BackboneName = config.backbone
    network = MPANet(config)
    state = published_state(backbone, num_patterns=config.num_patterns)
    network.load_state_dict({name: state[name] for name in network.state_dict()})
    return network.eval()


def on_processor(
    network: MPANet, artifact: ModelArtifact, threads: int, stack: ExitStack
) -> list[Contender]:
    """Torch eager, then every provider of the processor that this runtime has."""
    contenders = [Contender("torch eager", "fp32", torch_embed(ExportedGraph(network), "cpu"))]
    available = onnxruntime.get_available_providers()
    wanted = [("cpu", "fp32")]
    if ORT_NAMES["openvino"] in available:
        wanted.append(("openvino", "fp32"))
        if CpuFeatures.read().bf16:
            wanted.append(("openvino", "bf16"))
    for provider, precision in wanted:
        encoder = stack.enter_context(
            Encoder.open(artifact, provider=provider, precision=precision, threads=threads)
        )
        contenders.append(Contender(f"encoder, {provider}", precision, embed_with(encoder)))
    return contenders


def on_card(
    network: MPANet, artifact: ModelArtifact, half: Path, stack: ExitStack
) -> list[Contender]:
    """Torch at fp32 and fp16 on the card, then the CUDA provider at fp32, TF32 and fp16."""
    torch.backends.cudnn.allow_tf32 = False
    contenders = [
        Contender("torch eager, cuda", "fp32", torch_embed(ExportedGraph(network), "cuda")),
        Contender(
            "torch eager, cuda",
            "fp16",
            torch_embed(HalfGraph(golden_network(network.config)), "cuda"),
        ),
    ]
    for precision in ("fp32", "tf32"):
        encoder = Encoder.open(artifact, provider="cuda", precision=precision)
        contenders.append(
            Contender("encoder, cuda", precision, embed_with(stack.enter_context(encoder)))
        )
    encoder = Encoder.open(half_artifact(network.config, half), provider="cuda")
    contenders.append(Contender("encoder, cuda", "fp16", embed_with(stack.enter_context(encoder))))
    return contenders


def half_artifact(config: MPANetConfig, directory: Path) -> ModelArtifact:
    """A model directory whose graph computes in fp16."""
    graph = HalfGraph(golden_network(config)).eval()
    content = serialise(trace(graph, config.image_size), "fp32")
    return write_artifact(directory, content, config=config, preprocessing=PreprocessingConfig())


def torch_embed(graph: nn.Module, device: str) -> Callable[[Images], Images]:
    """Embed with torch, from host memory to host memory as the encoder does."""
    graph = graph.to(device).eval()

    def embed(images: Images) -> Images:
        with torch.inference_mode():
            embedding: Tensor = graph(torch.from_numpy(images).to(device))[0]
            result: Images = embedding.cpu().numpy()
        return result

    return embed


def embed_with(encoder: Encoder) -> Callable[[Images], Images]:
    """Embed with an encoder."""
    return lambda images: encoder.encode(images).embedding


def measure(
    contenders: Sequence[Contender], config: MPANetConfig, batch_sizes: Sequence[int], rounds: int
) -> list[Row]:
    """Let the contenders take turns; the first one is what ratio and cosine refer to."""
    rows = []
    for size in batch_sizes:
        shape = (size, 3, *config.image_size)
        images = np.random.default_rng(size).standard_normal(shape, dtype=np.float32)
        reference = contenders[0].embed(images)
        cosines = [float((c.embed(images) * reference).sum(1).min()) for c in contenders]
        seconds: list[list[float]] = [[] for _ in contenders]
        for _ in tqdm(range(rounds), desc=f"batch {size}", leave=False):
            for contender, times in zip(contenders, seconds, strict=True):
                time.sleep(PAUSE_S)
                start = time.perf_counter()
                contender.embed(images)
                times.append(time.perf_counter() - start)
        medians = [statistics.median(times) for times in seconds]
        rows += [
            Row(size, c.name, c.precision, size / median, medians[0] / median, cosine)
            for c, median, cosine in zip(contenders, medians, cosines, strict=True)
        ]
    return rows


def processor() -> str:
    """The processor's name and what of it decides the encoder's precision."""
    text = CPUINFO.read_text() if CPUINFO.exists() else ""
    fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    fields = {key.strip(): value.strip() for key, value in fields.items()}
    flags = fields.get("flags", "").split()
    known = [flag for flag in ("avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    return f"{fields.get('model name', platform.processor())} ({', '.join(known) or 'no AVX-512'})"


def table(result: dict[str, Any]) -> str:
    """The figures as Markdown."""
    machine = ", ".join(f"{key} {value}" for key, value in result["machine"].items())
    lines = [
        f"{machine}; medians of {result['rounds']} rounds",
        "",
        "| batch | contender | precision | img/s | ratio to torch | cosine to fp32, min |",
        "|---:|---|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['batch_size']} | {row['contender']} | {row['precision']}"
        f" | {row['images_per_second']:.1f} | {row['ratio_to_torch']:.2f}"
        f" | {row['min_cosine_to_fp32']:.5f} |"
        for row in result["rows"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
