"""A training step as recipes run it, against fp32 eager of the same network, in one run.

Forward, MPANet's whole objective, backward and Adam. Contenders take turns on the same images, so
that a neighbour's load falls on all of them alike; the median of the rounds counts. A second table
holds the step with real loading (rows out of a data set in memory, copied to the device, augmented)
against the step on tensors that are there already. On a GPU the fraction of the card's matrix rate
is that of a large bf16 product measured in the same run.

    python -m benchmarks.training_step --json training_step.json
"""

import argparse
import copy
import json
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from benchmarks.encoder import processor
from model.network.mpanet import MPANet
from training.augmentation import augment
from training.data import LabelledPixels, batches
from training.heads import IdentityHeads
from training.objective import objective
from training.optimisation import build_optimizer
from training.recipe import TrainingConfig, load_recipe

IDENTITIES = 395  # of SYSU-MM01


@dataclass(frozen=True)
class Contender:
    """One way to run the step: the precision of the network, the layout of its tensors."""

    name: str
    bf16: bool
    channels_last: bool
    compiled: bool = False


CONTENDERS = (
    Contender("eager fp32", bf16=False, channels_last=False),
    Contender("eager bf16", bf16=True, channels_last=False),
    Contender("eager fp32, channels last", bf16=False, channels_last=True),
    Contender("recipe: bf16, channels last", bf16=True, channels_last=True),
)
COMPILED = Contender("compiled bf16, channels last", bf16=True, channels_last=True, compiled=True)


class Step:
    """A network, its heads and optimiser on a device, taught by one contender's way."""

    def __init__(self, contender: Contender, config: TrainingConfig, device: str) -> None:
        self.contender, self.config, self.device = contender, config, device
        torch.manual_seed(0)
        self.network = MPANet(config.network).to(device)
        self.heads = IdentityHeads(config.network.feature_dim, IDENTITIES).to(device)
        if contender.channels_last:
            self.network.to(memory_format=torch.channels_last)
        if contender.compiled:
            self.network.compile()
        self.optimizer = build_optimizer(config.optimizer, self.network, self.heads)

    def __call__(self, images: Tensor, labels: Tensor, infrared: Tensor) -> None:
        """One step; returns when the device has done it."""
        layout = torch.channels_last if self.contender.channels_last else torch.contiguous_format
        with torch.autocast(self.device, torch.bfloat16, enabled=self.contender.bf16):
            features = self.network(images.contiguous(memory_format=layout))
        total, _ = objective(
            features,
            labels,
            infrared,
            self.heads,
            self.config.losses,
            mean_rate=0.2,
            images_per_person=self.config.batch.images_per_person,
        )
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(total)
        self.optimizer.step()
        wait(self.device)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print both tables, write JSON."""
    args = parse(argv)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.set_num_threads(args.threads)
    config = configured(args)
    step_rows = compare_steps(config, device, args.rounds, args.compile)
    loading = compare_loading(config, device, args.rounds)
    report: dict[str, Any] = {
        "machine": torch.cuda.get_device_name() if device == "cuda" else processor(),
        "threads": args.threads,
        "torch": torch.__version__,
        "network": config.network.model_dump(mode="json"),
        "batch": config.batch.persons * config.batch.images_per_person,
        "rounds": args.rounds,
        "steps": step_rows,
        "loading": loading,
    }
    if device == "cuda":
        report["matrix_tflops"] = matrix_rate()
    print(table(report))
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--backbone", default="resnet50")
    parser.add_argument("--image-size", type=int, nargs=2, default=(256, 128), metavar=("H", "W"))
    parser.add_argument("--persons", type=int, default=8)
    parser.add_argument("--images-per-person", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument(
        "--compile", action="store_true", help="torch.compile as one more contender"
    )
    return parser.parse_args(argv)


def configured(args: argparse.Namespace) -> TrainingConfig:
    """Recipe mpanet-plus, whose augmentation is the dearest, at the size that was asked for."""
    tables = load_recipe("mpanet-plus").model_dump()
    tables["network"] |= {"backbone": args.backbone, "image_size": tuple(args.image_size)}
    tables["batch"] |= {"persons": args.persons, "images_per_person": args.images_per_person}
    return TrainingConfig.model_validate(tables)


def compare_steps(
    config: TrainingConfig, device: str, rounds: int, compiled: bool
) -> list[dict[str, Any]]:
    """Let the contenders take turns on the same images; ratios to the first."""
    contenders = [*CONTENDERS, COMPILED] if compiled else list(CONTENDERS)
    size = config.batch.persons * config.batch.images_per_person
    generator = torch.Generator().manual_seed(1)
    images = torch.randn((size, 3, *config.network.image_size), generator=generator).to(device)
    labels = torch.arange(config.batch.persons).repeat_interleave(config.batch.images_per_person)
    infrared = torch.arange(size) % 2 == 1
    arguments = (images, labels.to(device), infrared.to(device))
    steps = [Step(contender, config, device) for contender in contenders]
    medians = turns([partial(step, *arguments) for step in steps], rounds, "steps")
    return [
        asdict(contender)
        | {"images_per_s": size / median, "ratio": medians[0] / median, "step_s": median}
        for contender, median in zip(contenders, medians, strict=True)
    ]


def compare_loading(config: TrainingConfig, device: str, rounds: int) -> dict[str, float]:
    """The recipe's step on tensors that are there, and on batches that it loads itself."""
    step = Step(CONTENDERS[-1], config, device)
    split = flat_people(config)
    loader = iter(batches(split, config, seed=0))
    generator = torch.Generator(device).manual_seed(0)

    def load() -> tuple[Tensor, Tensor, Tensor]:
        pixels, labels, infrared = (part.to(device) for part in next(loader))
        images = augment(pixels, infrared, config.augmentation, config.preprocessing, generator)
        return images, labels, infrared

    ready = tuple(copy.deepcopy(part) for part in load())
    cached, loaded = turns([lambda: step(*ready), lambda: step(*load())], rounds, "loading")
    return {"cached_s": cached, "loaded_s": loaded, "ratio": cached / loaded}


def flat_people(config: TrainingConfig) -> LabelledPixels:
    """Random pixels of as many people as the rounds need, each seen in both modalities."""
    persons = max(64, 4 * config.batch.persons)
    images = 2 * config.batch.images_per_person
    rng = np.random.default_rng(0)
    shape = (persons * images, *config.network.image_size, 3)
    labels = np.repeat(np.arange(persons), images)
    return LabelledPixels(
        rng.integers(0, 256, shape, dtype=np.uint8),
        labels,
        np.ones_like(labels),
        np.arange(len(labels)) % 2 == 1,
    )


def turns(runs: Sequence[Callable[[], None]], rounds: int, what: str) -> list[float]:
    """Median seconds of each, after one round that does not count."""
    seconds: list[list[float]] = [[] for _ in runs]
    for turn in tqdm(range(rounds + 1), desc=what, leave=False):
        for run, times in zip(runs, seconds, strict=True):
            start = time.perf_counter()
            run()
            if turn:
                times.append(time.perf_counter() - start)
    return [statistics.median(times) for times in seconds]


def matrix_rate() -> float:
    """TFLOP/s of a large bf16 matrix product on the card."""
    side = 8192
    a = torch.randn(side, side, device="cuda", dtype=torch.bfloat16)

    def product() -> None:
        torch.mm(a, a)
        wait("cuda")

    return 2 * side**3 / turns([product], 20, "matrix rate")[0] / 1e12


def wait(device: str) -> None:
    """Let the device finish what it was given."""
    if device == "cuda":
        torch.cuda.synchronize()


def table(report: dict[str, Any]) -> str:
    """The figures as Markdown."""
    height, width = report["network"]["image_size"]
    lines = [
        f"{report['machine']}, {report['threads']} threads, torch {report['torch']};"
        f" {report['network']['backbone']}, {height}x{width}, batches of {report['batch']};"
        f" medians of {report['rounds']} rounds",
        "",
        "| step | img/s | ratio to eager fp32 |",
        "|---|---:|---:|",
    ]
    lines += [
        f"| {row['name']} | {row['images_per_s']:.1f} | {row['ratio']:.2f} |"
        for row in report["steps"]
    ]
    loading = report["loading"]
    lines += [
        "",
        "| recipe's step | s | cached / loaded |",
        "|---|---:|---:|",
        f"| on cached tensors | {loading['cached_s']:.3f} | |",
        f"| with loading and augmentation | {loading['loaded_s']:.3f} | {loading['ratio']:.3f} |",
    ]
    if "matrix_tflops" in report:
        lines += ["", f"bf16 matrix product: {report['matrix_tflops']:.0f} TFLOP/s"]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
