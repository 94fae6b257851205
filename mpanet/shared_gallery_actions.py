"""The actions of `mpanet gallery` on a gallery that several services share."""

import argparse
import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mpanet.errors import CommandError, reported
from mpanet.progress_bar import progress_bar

if TYPE_CHECKING:
    from gallery_index.shared.gallery import SharedGallery

PLACES = {
    "redis_url": "where the records are",
    "qdrant_url": "where the vectors are",
    "crop_store": "where the crops are, a URL that fsspec opens",
}


def configure(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `replay` and `verify-shared` with their options."""
    for name, summary in (
        ("replay", "enrol what a backup holds into a shared gallery; again: what is missing"),
        ("verify-shared", "read all of a shared gallery; exit 1 if anything disagrees"),
    ):
        action = actions.add_parser(name, help=summary, description=summary.capitalize())
        for place, meaning in PLACES.items():
            variable = f"MPANET_{place.upper()}"
            action.add_argument(
                f"--{place.replace('_', '-')}",
                default=os.environ.get(variable) or None,
                help=f"{meaning} (or {variable})",
            )
        action.add_argument("--json", action="store_true", help="print the report as JSON")
        if name == "replay":
            action.add_argument(
                "--backup", type=Path, required=True, metavar="DIR", help="what `backup` wrote"
            )
        else:
            action.add_argument("--model-id", required=True, help="the model of its embeddings")
            action.add_argument("--embedding-dim", type=int, required=True, help="their length")


def run_replay(args: argparse.Namespace) -> int:
    """Enrol a backup. Returns 0; a damaged one ends with 1."""
    opener = _opener(args)
    from gallery_index.errors import GalleryCorruptError, GalleryError
    from gallery_index.shared.replay import replay

    with (
        reported(GalleryError),
        reported(GalleryCorruptError, exit_code=1),
        progress_bar() as on_progress,
    ):
        report = replay(args.backup, opener, on_progress=on_progress)
    if args.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        print(f"{report.entries} entries, {report.known} of them were there already")
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Verify a shared gallery. Returns 0 if it is sound, else 1."""
    opener = _opener(args)
    from gallery_index.errors import GalleryError

    with reported(GalleryError):
        gallery = opener(args.model_id, args.embedding_dim)
        try:
            report = gallery.verify()
        finally:
            gallery.close()
    if args.json:
        print(json.dumps({"ok": report.ok, **dataclasses.asdict(report)}))
        return 0 if report.ok else 1
    print(f"{report.entries} entries, {report.crops} crops, {report.index_positions} points")
    for text in (*report.unfinished, *report.problems):
        print(text)
    print("sound" if report.ok else f"{len(report.problems)} problems")
    return 0 if report.ok else 1


def _opener(args: argparse.Namespace) -> "Callable[[str, int], SharedGallery]":
    places: dict[str, Any] = {name: getattr(args, name) for name in PLACES}
    for name, value in places.items():
        if value is None:
            option = f"--{name.replace('_', '-')} (or MPANET_{name.upper()})"
            raise CommandError(f"{option} is required: the gallery is shared")
    try:
        from gallery_index.shared.gallery import SharedGallery
    except ImportError as error:
        raise CommandError(
            f"a shared gallery needs the extra `scale` ({error}): pip install 'mpanet[scale]'"
        ) from error

    def open_gallery(model_id: str, embedding_dim: int) -> SharedGallery:
        return SharedGallery.open(**places, model_id=model_id, embedding_dim=embedding_dim)

    return open_gallery
