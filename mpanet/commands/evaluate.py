"""`mpanet evaluate`: score a model on a dataset's published protocol, beside published figures."""

import argparse
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpanet.errors import CommandError, reported
from mpanet.options import (
    DATASETS,
    SPLITS,
    refuse_options_of_others,
    refuse_unwritable,
    write_text,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from model.encoder import Encoder
    from training.assessment import Assessment
    from training.comparison import FigureBlock
    from training.dimensions import DimensionStudy
    from training.evaluation import EvaluationRow
    from training.protocols.sysu_mm01 import Search

OPTIONS_OF = {
    "search": ("sysu-mm01",),
    "shots": ("sysu-mm01",),
    "sampling": ("sysu-mm01",),
    "full": ("sysu-mm01",),
    "trials": ("sysu-mm01", "llcm"),
    "split": ("regdb",),
}
RENDERED = "rendered people: published figures are for the real dataset and do not compare"
ONE_MODEL = (
    "one model on ten splits: it may have been trained on identities that other splits test;"
    " published figures train a model for each split"
)


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet evaluate`."""
    parser.add_argument("--model", required=True, type=Path, metavar="DIR", help="model artifact")
    parser.add_argument("--dataset", required=True, choices=DATASETS)
    parser.add_argument("--data", required=True, type=Path, metavar="DIR", help="its folder")
    sysu = parser.add_argument_group("SYSU-MM01")
    sysu.add_argument(
        "--search", choices=["all", "indoor"], help="cameras of the gallery (default: all)"
    )
    sysu.add_argument(
        "--shots", type=int, choices=[1, 10], help="gallery images a person and camera (default: 1)"
    )
    sysu.add_argument("--full", action="store_true", help="every search with every number of shots")
    sysu.add_argument(
        "--sampling",
        choices=["published", "seeded"],
        help="how the gallery is drawn (default: published where exp/rand_perm_cam.mat is there)",
    )
    parser.add_argument(
        "--trials",
        type=int,
        choices=range(1, 11),
        metavar="1..10",
        help="galleries to draw, of SYSU-MM01 and LLCM (default: 10)",
    )
    parser.add_argument(
        "--split", type=_splits, metavar="1..10|all", help="of RegDB; all: their mean (default: 1)"
    )
    parser.add_argument("--rerank", action="store_true", help="also k-reciprocal re-ranking, apart")
    parser.add_argument("--affinity", action="store_true", help="also affinity inference, apart")
    parser.add_argument(
        "--baselines", action="store_true", help="also chance, raw pixels and grey histograms"
    )
    parser.add_argument(
        "--dimensions",
        type=_dimensions,
        nargs="?",
        const=(),
        metavar="64,128,...",
        help="also figures of shortened embeddings (without a list: 64 to 2,048 and the full one)",
    )
    parser.add_argument("--provider", default="auto", help="execution provider (default: auto)")
    parser.add_argument("--report", type=Path, metavar="FILE", help="also write an HTML report")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")


def run(args: argparse.Namespace) -> int:
    """Run `mpanet evaluate`."""
    from model.artifact import ModelArtifact
    from model.encoder import Encoder
    from model.errors import ModelError
    from training.assessment import assessments
    from training.datasets.sample import require
    from training.errors import TrainingError
    from training.protocols.drawing import TRIALS

    _check(args)
    with reported(ModelError, TrainingError):
        artifact = ModelArtifact.load(args.model)
        parts = assessments(
            args.dataset,
            args.data,
            settings=_settings(args),
            trials=args.trials or TRIALS,
            sampling=args.sampling or "auto",
            splits=args.split or [1],
        )
        if args.dimensions is not None:
            require(parts[0].dataset.train, "train", args.data)
        with Encoder.open(artifact, provider=args.provider) as encoder:
            print(f"model {encoder.model_id} on {encoder.provider} ({encoder.precision})")
            measured = _measure(args, parts, encoder)
            try:
                _print(measured)
            finally:  # a reader of the figures that left early, as `| head` does, costs no file
                _write_files(args, measured)
    return 0


@dataclass(frozen=True)
class _Measured:
    """What was found, and the embeddings (N, D) of the first test split that it was found in."""

    encoder: "Encoder"
    part: "Assessment"
    embeddings: "NDArray[np.float32]"
    rows: "list[EvaluationRow]"
    blocks: "list[FigureBlock]"
    study: "DimensionStudy | None"
    notes: list[str]


def _measure(args: argparse.Namespace, parts: "list[Assessment]", encoder: "Encoder") -> _Measured:
    from training.artifact_embedding import embed_samples
    from training.assessment import assess
    from training.baselines import BASELINES
    from training.comparison import figure_blocks
    from training.dimensions import DIMENSIONS, dimension_study

    embed = partial(embed_samples, encoder, progress=True)
    rows, embeddings = assess(parts, "model", embed, rerank=args.rerank, affinity=args.affinity)
    for name, baseline in BASELINES.items() if args.baselines else ():
        rows += assess(parts, name, baseline)[0]
    study = None
    if args.dimensions is not None:
        trained = embed(parts[0].dataset.train)
        wanted = args.dimensions or DIMENSIONS
        study = dimension_study(parts[0].entries, trained, embeddings, dimensions=wanted)
    notes = _notes(args)
    blocks = figure_blocks(rows, with_published=RENDERED not in notes)
    return _Measured(encoder, parts[0], embeddings, rows, blocks, study, notes)


def _print(measured: _Measured) -> None:
    from training.comparison import text_table

    print(*(f"{note}\n" for note in measured.notes), text_table(measured.blocks), sep="\n")
    if measured.study is not None:
        print(f"\n{measured.study.table()}")


def _write_files(args: argparse.Namespace, measured: _Measured) -> None:
    if args.json is not None:
        write_text(args.json, json.dumps(_as_json(args, measured), indent=2) + "\n")
    if args.report is not None:
        write_text(args.report, _report(args, measured))


def _splits(text: str) -> list[int]:
    """Parse `all` or the number of one of ten splits."""
    if text == "all":
        return list(SPLITS)
    if not text.isdecimal() or int(text) not in SPLITS:
        raise argparse.ArgumentTypeError(f"expected 1 to 10 or all, got {text!r}")
    return [int(text)]


def _dimensions(text: str) -> tuple[int, ...]:
    """Parse a list such as 64,128."""
    parts = text.split(",")
    if not all(re.fullmatch("[0-9]{1,6}", part) and int(part) for part in parts):
        raise argparse.ArgumentTypeError(f"expected lengths such as 64,128, got {text!r}")
    return tuple(int(part) for part in parts)


def _check(args: argparse.Namespace) -> None:
    """Refuse options that mean nothing here, and files that could not be written in the end."""
    refuse_options_of_others(args, OPTIONS_OF, args.dataset)
    if args.full and (args.search or args.shots):
        raise CommandError(
            "--full is every search and number of shots; leave --search, --shots out"
        )
    refuse_unwritable(args.json, args.report)


def _settings(args: argparse.Namespace) -> "list[tuple[Search, int]]":
    if args.full:
        from training.assessment import EVERY_SETTING

        return list(EVERY_SETTING)
    return [(args.search or "all", args.shots or 1)]


def _notes(args: argparse.Namespace) -> list[str]:
    """What must be known before figures are compared."""
    notes = [RENDERED] if (args.data / "SYNTHETIC.json").is_file() else []
    return notes + ([ONE_MODEL] if args.split is not None and len(args.split) > 1 else [])


def _as_json(args: argparse.Namespace, measured: _Measured) -> dict[str, Any]:
    """`results` are plain rows, which compare with published ones; `apart` are all others."""
    from training.protocols.variants import PLAIN

    rows, study = measured.rows, measured.study
    return {
        "dataset": args.dataset,
        "data": str(args.data),
        "model_id": measured.encoder.model_id,
        "provider": measured.encoder.provider,
        "precision": measured.encoder.precision,
        "notes": measured.notes,
        "results": [row.as_json() for row in rows if row.variant == PLAIN],
        "apart": [row.as_json() for row in rows if row.variant != PLAIN],
        "dimensions": None if study is None else study.as_json(),
    }


def _report(args: argparse.Namespace, measured: _Measured) -> str:
    from training.artifact_embedding import pattern_maps
    from training.report.build import build_report
    from training.report.content import Header
    from training.report.gather import Subject, gather

    encoder = measured.encoder
    header = Header(
        model_id=encoder.model_id,
        dataset=args.dataset,
        data=str(args.data),
        runtime=f"{encoder.provider}, {encoder.precision}",
        created=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        notes=tuple(measured.notes),
    )
    subject = Subject(
        dataset=measured.part.dataset,
        entry=measured.part.entries[0],
        embeddings=measured.embeddings,
        pattern_maps=partial(pattern_maps, encoder),
        projected=encoder.config.projected_dim is not None,
    )
    return build_report(gather(header, measured.rows, measured.blocks, subject, measured.study))
