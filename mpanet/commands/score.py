"""`mpanet score`: evaluate embeddings computed anywhere on a published protocol."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from mpanet.errors import CommandError, reported
from mpanet.options import refuse_options_of_others, refuse_unwritable, write_text

if TYPE_CHECKING:
    from mpanet.embeddings_file import EmbeddingsFile
    from training.protocols.contest import Contest, Labels, Measure
    from training.protocols.embedded import Embedded
    from training.protocols.permutations import Permutations
    from training.protocols.variants import Variant

DIRECTIONS = ("thermal-to-visible", "visible-to-thermal")
OPTIONS_OF = {
    "permutations": ("sysu-mm01",),
    "search": ("sysu-mm01",),
    "shots": ("sysu-mm01",),
    "trials": ("sysu-mm01", "llcm"),
    "direction": ("regdb",),
    "measure": ("regdb",),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet score`."""
    parser.add_argument(
        "--protocol", required=True, choices=["sysu-mm01", "regdb", "llcm", "cross-modality"]
    )
    parser.add_argument(
        "--embeddings",
        required=True,
        type=Path,
        metavar="FILE",
        help="an .npz file with {query,gallery}_{embeddings,person_ids,camera_ids} and"
        " gallery_image_numbers; of regdb {visible,thermal}_{embeddings,person_ids}",
    )
    parser.add_argument(
        "--permutations",
        type=Path,
        metavar="FILE",
        help="rand_perm_cam.mat of SYSU-MM01; without it the gallery is drawn by Python's"
        " seeded choice, and figures do not compare with published ones of the other kind",
    )
    parser.add_argument("--search", choices=["all", "indoor"], help="of sysu-mm01 (default: all)")
    parser.add_argument("--shots", type=int, choices=[1, 10], help="of sysu-mm01 (default: 1)")
    parser.add_argument(
        "--trials",
        type=int,
        choices=range(1, 11),
        metavar="1..10",
        help="of sysu-mm01 and llcm (default: 10)",
    )
    parser.add_argument("--direction", choices=DIRECTIONS, help="of regdb")
    parser.add_argument(
        "--measure",
        choices=["euclidean", "cosine"],
        help="of regdb (default: euclidean, un-normalised, as the MPANet authors evaluate it)",
    )
    variant = parser.add_mutually_exclusive_group()
    variant.add_argument(
        "--rerank", action="store_true", help="k-reciprocal re-ranking, as the authors use it"
    )
    variant.add_argument("--affinity", action="store_true", help="affinity inference (SAAI)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")


def run(args: argparse.Namespace) -> int:
    """Run `mpanet score`."""
    from mpanet.embeddings_file import EmbeddingsFile
    from training.comparison import figure_blocks, text_table
    from training.errors import TrainingError
    from training.evaluation import row_of
    from training.protocols.ranking import rank

    _check_options(args)
    with EmbeddingsFile(args.embeddings) as file, reported(TrainingError):
        contest, query, gallery = _contest(args, file)
        (outcome,) = rank(contest, query, gallery, [_variant(args)], progress=True)
    row = row_of(contest, "embeddings", outcome)
    print(text_table(figure_blocks([row], with_published=False)))
    if args.json is not None:
        write_text(args.json, json.dumps(row.as_json(), indent=2) + "\n")
    return 0


def _check_options(args: argparse.Namespace) -> None:
    refuse_options_of_others(args, OPTIONS_OF, args.protocol)
    if args.protocol == "regdb" and args.direction is None:
        raise CommandError(f"--direction is missing: {' or '.join(DIRECTIONS)}")
    refuse_unwritable(args.json)


def _variant(args: argparse.Namespace) -> "Variant":
    from training.protocols.variants import Affinity, ReRanking

    if args.affinity:
        return Affinity()
    return ReRanking() if args.rerank else None


def _contest(
    args: argparse.Namespace, file: "EmbeddingsFile"
) -> "tuple[Contest, Embedded, Embedded]":
    from training.protocols.cross_modality import cross_modality
    from training.protocols.drawing import TRIALS
    from training.protocols.llcm import llcm
    from training.protocols.regdb import regdb
    from training.protocols.sysu_mm01 import sysu_mm01

    first, second = ("visible", "thermal") if args.protocol == "regdb" else ("query", "gallery")
    one, ones = _side(file, first, args.protocol)
    other, others = _side(file, second, args.protocol)
    if args.protocol == "regdb":
        measure: Measure = args.measure or "euclidean"
        contest = regdb(ones, others, direction=args.direction, measure=measure)
        return (contest, other, one) if args.direction == DIRECTIONS[0] else (contest, one, other)
    trials = args.trials or TRIALS
    if args.protocol == "cross-modality":
        contest = cross_modality(ones, others, direction="query-to-gallery")
    elif args.protocol == "llcm":
        contest = llcm(ones, others, direction="query-to-gallery", trials=trials)
    else:
        contest = sysu_mm01(
            ones,
            others,
            search=args.search or "all",
            shots=args.shots or 1,
            permutations=_permutations(args.permutations),
            trials=trials,
        )
    return contest, one, other


def _side(file: "EmbeddingsFile", side: str, protocol: str) -> "tuple[Embedded, Labels]":
    import numpy as np

    from training.protocols.contest import Labels
    from training.protocols.embedded import embedded

    vectors = file.embeddings(side)
    rows = len(vectors)
    persons = file.labels(f"{side}_person_ids", rows)
    cameras = numbers = np.zeros(rows, dtype=np.int64)
    if protocol != "regdb":
        cameras = file.labels(f"{side}_camera_ids", rows)
    if side == "gallery" and protocol in ("sysu-mm01", "llcm"):
        numbers = file.labels("gallery_image_numbers", rows)
    return embedded(vectors, side), Labels(persons, cameras, numbers)


def _permutations(path: Path | None) -> "Permutations | None":
    from training.protocols.permutations import load_permutations

    return None if path is None else load_permutations(path)
