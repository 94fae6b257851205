"""What each part of MPANet is worth on rendered people: an ablation at equal budget.

Every variant is a bundled recipe with a smaller network, batch and schedule, trained by `mpanet
train`'s own code on the same people for the same number of steps, and scored by the SYSU-MM01
protocol on people that it never saw. Each part is added to the baseline alone; `mpanet` has all of
them. Networks start from weights trained on visible crops of other people, which stand in for
ImageNet: they know people and colours, and have never seen infrared.

    python -m benchmarks.ablation --out runs/ablation --json ablation.json

A run that is finished is not repeated, so an interrupted ablation goes on where it stopped.
"""

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks.encoder import processor
from model.config import Modality, MPANetConfig
from model.network.checkpoint import load_network
from model.network.mpanet import MPANet
from training.augmentation import augment, normalise
from training.datasets.pixels import decode_images
from training.datasets.sample import Dataset, Sample
from training.datasets.sysu_mm01 import read_sysu_mm01
from training.evaluation import EvaluationRow, contests, evaluate
from training.losses import contrast
from training.recipe import AugmentationConfig, TrainingConfig, load_recipe
from training.run import train
from training.synthetic.write import synthesize

IMAGE_SIZE = (64, 32)
PERSONS, IMAGES = 16, 4
BATCH = {"persons": PERSONS, "images_per_person": IMAGES, "sampling": "balanced"}
WITHOUT_PARTS: dict[str, Any] = {
    "network": {"num_patterns": 0, "modality_alleviation": False},
    "losses": {"center_cluster": 0.0, "separation": 0.0, "mutual_learning": False},
}
VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "baseline": ("mpanet", WITHOUT_PARTS),
    "+ modality alleviation": (
        "mpanet",
        WITHOUT_PARTS | {"network": {"num_patterns": 0, "modality_alleviation": True}},
    ),
    "+ pattern alignment": (
        "mpanet",
        {
            "network": {"num_patterns": 6, "modality_alleviation": False},
            "losses": {"center_cluster": 0.0, "separation": 0.5, "mutual_learning": False},
        },
    ),
    "+ mutual mean learning": (
        "mpanet",
        WITHOUT_PARTS | {"losses": {"center_cluster": 0.0, "separation": 0.0}},
    ),
    "+ centre cluster": (
        "mpanet",
        WITHOUT_PARTS | {"losses": {"separation": 0.0, "mutual_learning": False}},
    ),
    "mpanet": ("mpanet", {}),
    "mpanet, rates of mpanet-plus": (
        "mpanet",
        {
            "optimizer": {"learning_rate": 1e-3, "head_rate": 0.1},
            "schedule": {"decay": "cosine", "milestones": []},
        },
    ),
    "mpanet-plus": ("mpanet-plus", {}),
}
PRETRAINED = "pretrained.pth"
PRETRAINING_STEPS = 500


def main(argv: Sequence[str] | None = None) -> int:
    """Prepare, run what is missing, print the table, write JSON."""
    args = parse(argv)
    if args.single is not None:
        run_one(args, args.single[0], int(args.single[1]))
        return 0
    prepare(args)
    jobs = [(name, seed) for seed in args.seeds for name in args.variants]
    missing = [job for job in jobs if not result_file(args.out, *job).is_file()]
    with ThreadPoolExecutor(args.workers) as pool:
        done = pool.map(partial(run_apart, args), missing)
        list(tqdm(done, desc="runs", total=len(missing)))
    report = summary(args, jobs)
    print(table(report))
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the options."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="people and runs")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--persons", type=int, default=400, help="to train on")
    parser.add_argument("--test-persons", type=int, default=100, help="to test on")
    parser.add_argument("--epochs", type=int, default=4, help="of about 100 steps with 400 persons")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--variants", nargs="+", choices=list(VARIANTS), default=list(VARIANTS))
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="runs at a time")
    parser.add_argument("--single", nargs=2, metavar=("VARIANT", "SEED"), help=argparse.SUPPRESS)
    return parser.parse_args(argv)


def prepare(args: argparse.Namespace) -> None:
    """Render both sets of people and make the weights that every network starts from."""
    for name, persons, test, seed in (
        ("people", args.persons + args.test_persons, args.test_persons, 77),
        ("others", args.persons, 1, 78),
    ):
        if not (args.out / name).is_dir():
            print(f"rendering {persons} {name}", file=sys.stderr)
            synthesize(
                args.out / name, layout="sysu-mm01", persons=persons, seed=seed, test_persons=test
            )
    if not (args.out / PRETRAINED).is_file():
        dataset = read_sysu_mm01(args.out / "others")
        pretrain([*dataset.train, *dataset.validation], args.out / PRETRAINED)


def pretrain(samples: Sequence[Sample], out: Path) -> None:
    """Teach a plain ResNet-18 to tell visible crops apart; torchvision's format."""
    visible = [sample for sample in samples if sample.modality is Modality.VISIBLE]
    pixels, problems = decode_images(visible, IMAGE_SIZE)
    assert not problems
    _, labels = np.unique([sample.person_id for sample in visible], return_inverse=True)
    groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
    torch.manual_seed(0)
    network = MPANet(
        MPANetConfig(
            backbone="resnet18", image_size=IMAGE_SIZE, num_patterns=0, modality_alleviation=False
        )
    )
    network.to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(network.parameters(), 1e-3, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, PRETRAINING_STEPS)
    rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
    preprocessing = load_recipe("mpanet").preprocessing
    for _ in tqdm(range(PRETRAINING_STEPS), desc="weights to start from"):
        persons = rng.choice(len(groups), PERSONS, replace=False)
        rows = np.concatenate([rng.choice(groups[p], IMAGES, replace=False) for p in persons])
        images = augment(
            torch.from_numpy(pixels[rows]),
            torch.zeros(len(rows), dtype=torch.bool),
            AugmentationConfig(pad=4),
            preprocessing,
            generator,
        )
        with torch.autocast("cpu"):
            features = network(images)
        loss = contrast(features.embedding.float(), torch.from_numpy(labels[rows]), 0.1)
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    torch.save(network.backbone.state_dict(), out)


def variant(name: str, epochs: int, initialise: Path) -> TrainingConfig:
    """The recipe of a variant, on a scale that two cores train in minutes.

    Milestones and warm-up keep their share of the epochs.
    """
    recipe, changes = VARIANTS[name]
    full = load_recipe(recipe).model_dump()
    scale = epochs / full["schedule"]["epochs"]
    full["network"] |= {"backbone": "resnet18", "image_size": IMAGE_SIZE}
    full["batch"] = BATCH
    full["augmentation"]["pad"] = 4
    schedule = full["schedule"]
    schedule["milestones"] = [
        max(1, round(milestone * scale)) for milestone in schedule["milestones"]
    ]
    schedule["warmup_epochs"] *= scale
    schedule["epochs"] = epochs
    full |= {"initialise": str(initialise), "train_on_validation": True}
    for section, values in changes.items():
        full[section] |= values
    return TrainingConfig.model_validate(full)


def run_apart(args: argparse.Namespace, job: tuple[str, int]) -> None:
    """One run in a process of its own, on one thread: two of them share no barrier."""
    command = [sys.executable, "-m", "benchmarks.ablation", "--out", str(args.out)]
    command += ["--epochs", str(args.epochs), "--single", job[0], str(job[1])]
    subprocess.run(command, check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def run_one(args: argparse.Namespace, name: str, seed: int) -> None:
    """Train a variant, score its last weights on the test people, keep the figures."""
    file = result_file(args.out, name, seed)
    dataset = read_sysu_mm01(args.out / "people")
    config = variant(name, args.epochs, args.out / PRETRAINED)
    result = train(
        dataset,
        config,
        file.with_suffix(""),
        recipe=name,
        seed=seed,
        resume=(file.with_suffix("") / "last.ckpt").is_file(),
        progress=False,
    )
    row = score(dataset, name, result.last)
    file.write_text(json.dumps({"minutes": result.minutes, **row.as_json()}), encoding="utf-8")


def score(dataset: Dataset, name: str, checkpoint: Path) -> EvaluationRow:
    """All search, single-shot, ten trials, by the network in a checkpoint."""
    [contest] = contests(dataset, search="all", shots=1)
    return evaluate(contest, embed(dataset.test, checkpoint), name)[0]


def embed(samples: Sequence[Sample], checkpoint: Path) -> NDArray[np.float32]:
    """Embed crops with a checkpoint's network, by the preprocessing that training uses."""
    loaded = load_network(checkpoint)
    pixels, problems = decode_images(samples, loaded.network.config.image_size)
    assert not problems
    with torch.inference_mode():
        parts = [
            loaded.network(normalise(torch.from_numpy(part), loaded.preprocessing)).embedding
            for part in np.array_split(pixels, -(-len(pixels) // 64))
        ]
    return np.concatenate([part.numpy() for part in parts])


def result_file(out: Path, name: str, seed: int) -> Path:
    """Where the figures of a run are kept."""
    return out / f"{re.sub('[^a-z]+', '-', name.replace('+', 'with'))}-seed{seed}.json"


def summary(args: argparse.Namespace, jobs: Sequence[tuple[str, int]]) -> dict[str, Any]:
    """Mean and sample standard deviation over the seeds of each variant."""
    runs = {job: json.loads(result_file(args.out, *job).read_text()) for job in jobs}
    rows = []
    for name in args.variants:
        row: dict[str, Any] = {"variant": name}
        for figure in ("rank1", "mAP", "minutes"):
            values = [runs[name, seed][figure] for seed in args.seeds]
            row[figure] = statistics.mean(values)
            row[f"{figure}_sd"] = statistics.stdev(values) if len(values) > 1 else 0.0
            row[f"{figure}_of_seeds"] = values
        rows.append(row)
    first = runs[jobs[0]]
    return {
        "machine": processor(),
        "protocol": first["protocol"],
        "sampling": first["sampling"],
        "queries": first["queries"],
        "persons": args.persons,
        "epochs": args.epochs,
        "seeds": args.seeds,
        "rows": rows,
    }


def table(report: dict[str, Any]) -> str:
    """The figures as Markdown."""
    lines = [
        f"{report['machine']}; {report['protocol']}, {report['sampling']},"
        f" {report['queries']} queries; {len(report['seeds'])} seeds, {report['epochs']} epochs",
        "",
        "| variant | rank-1 | mAP | minutes |",
        "|---|---:|---:|---:|",
    ]
    lines += [
        f"| {row['variant']} | {row['rank1']:.1f} ± {row['rank1_sd']:.1f}"
        f" | {row['mAP']:.1f} ± {row['mAP_sd']:.1f} | {row['minutes']:.1f} |"
        for row in report["rows"]
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    raise SystemExit(main())
