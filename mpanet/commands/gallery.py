"""`mpanet gallery`: check, maintain, back up and restore the directory of a gallery."""

import argparse
import dataclasses
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpanet import shared_gallery_actions
from mpanet.commands.serve import DEMO_MODEL, demo_model_directory
from mpanet.errors import CommandError, reported
from mpanet.progress_bar import progress_bar

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from gallery_index.records import VerificationReport


def configure(parser: argparse.ArgumentParser) -> None:
    """Add every action with its options."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    for name, summary in (
        ("verify", "read every row, crop and record; exit 1 if anything disagrees"),
        ("rebuild", "build the index anew from the vector file, mending what it can"),
        ("backup", "copy the gallery, served or not; exit 1 if anything in it is damaged"),
        ("restore", "make a gallery anew from a backup; exit 1 if the backup is damaged"),
    ):
        action = actions.add_parser(name, help=summary, description=summary.capitalize())
        action.add_argument(
            "--data", type=Path, required=True, metavar="DIR", help="the gallery's directory"
        )
        action.add_argument(
            "--redis-url",
            default=os.environ.get("MPANET_REDIS_URL") or None,
            help="where the records are, if in Redis (or MPANET_REDIS_URL)",
        )
        action.add_argument("--json", action="store_true", help="print the report as JSON")
        if name == "rebuild":
            action.add_argument(
                "--model",
                type=Path,
                metavar="DIR",
                help="the gallery's model: embeds damaged rows anew from their crops",
            )
        if name == "backup":
            action.add_argument(
                "--out", type=Path, required=True, metavar="DIR", help="a new directory for it"
            )
        if name == "restore":
            action.add_argument(
                "--backup", type=Path, required=True, metavar="DIR", help="what `backup` wrote"
            )
    shared_gallery_actions.configure(actions)


def run(args: argparse.Namespace) -> int:
    """Run one action. Returns 0 if all is sound, 1 if something is damaged."""
    in_a_directory = {"verify": _verify, "rebuild": _rebuild, "backup": _backup}
    if args.action in in_a_directory and not args.data.is_dir():
        raise CommandError(f"--data: {args.data} is not a directory")
    actions = {
        **in_a_directory,
        "restore": _restore,
        "replay": shared_gallery_actions.run_replay,
        "verify-shared": shared_gallery_actions.run_verify,
    }
    return actions[args.action](args)


def _verify(args: argparse.Namespace) -> int:
    from tqdm import tqdm

    from gallery_index.errors import GalleryCorruptError, GalleryError
    from gallery_index.verification import verify_directory

    with (
        reported(GalleryError),
        reported(GalleryCorruptError, exit_code=1),
        tqdm(unit=" files and rows", file=sys.stderr, disable=None) as bar,
    ):
        report = verify_directory(args.data, redis_url=args.redis_url, on_step=bar.update)
    if args.json:
        print(json.dumps({"ok": report.ok, **dataclasses.asdict(report)}))
    else:
        _print_report(report)
    return 0 if report.ok else 1


def _print_report(report: "VerificationReport") -> None:
    print(
        f"{report.entries} entries, {report.rows} rows, {report.crops} crops,"
        f" {report.index_positions} positions in the index snapshot"
    )
    for text in report.unfinished:
        print(f"unfinished (the next start puts it in order): {text}")
    for text in report.problems:
        print(f"damaged: {text}")
    if report.recall_at_10 is not None:
        print(f"recall@10 against exact search: {report.recall_at_10:.4f}")
    print("sound" if report.ok else f"{len(report.problems)} problems")


def _embed_damaged(args: argparse.Namespace, model_id: str) -> int:
    from gallery_index.mending import mend_directory
    from model.encoder import Encoder
    from model.errors import ModelError
    from model.preprocessing import read_image

    model = demo_model_directory() if args.model == Path(DEMO_MODEL) else args.model
    with reported(ModelError), Encoder.open(model) as encoder:
        if encoder.model_id != model_id:
            raise CommandError(
                f"--model: {args.model} is {encoder.model_id}, the gallery is of {model_id}"
            )

        def embed(crop: bytes) -> "NDArray[np.float32]":
            embedded = encoder.encode(encoder.prepare(read_image(crop))[None])
            return embedded.embedding.reshape(-1)

        return mend_directory(args.data, embed, redis_url=args.redis_url)


def _rebuild(args: argparse.Namespace) -> int:
    from gallery_index.errors import GalleryCorruptError, GalleryError
    from gallery_index.gallery import Gallery
    from gallery_index.opening import read_identity

    with reported(GalleryError), reported(GalleryCorruptError, exit_code=1):
        identity = read_identity(args.data)
        embedded = _embed_damaged(args, identity.model_id) if args.model else 0
        gallery = Gallery.open(
            args.data,
            model_id=identity.model_id,
            embedding_dim=identity.embedding_dim,
            redis_url=args.redis_url,
        )
        try:
            mended, entries = embedded + gallery.rebuild(), len(gallery)
        finally:
            gallery.close()
    if args.json:
        print(json.dumps({"entries": entries, "mended_rows": mended}))
    else:
        print(f"index rebuilt over {entries} entries, {mended} damaged rows mended")
    return 0


def _backup(args: argparse.Namespace) -> int:
    from gallery_index.backup.backup import back_up
    from gallery_index.errors import GalleryCorruptError, GalleryError

    with (
        reported(GalleryError),
        reported(GalleryCorruptError, exit_code=1),
        progress_bar() as on_progress,
    ):
        report = back_up(args.data, args.out, redis_url=args.redis_url, on_progress=on_progress)
    if args.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        print(f"{report.entries} entries, {report.bytes / 1e6:.1f} MB in {args.out}")
        if report.deleted_meanwhile:
            print(f"{report.deleted_meanwhile} were deleted meanwhile and are left out")
        if report.without_vector:
            print(f"{report.without_vector} have no vector by this model and are left out")
    return 0


def _restore(args: argparse.Namespace) -> int:
    from gallery_index.backup.restore import restore
    from gallery_index.errors import GalleryCorruptError, GalleryError

    with (
        reported(GalleryError),
        reported(GalleryCorruptError, exit_code=1),
        progress_bar() as on_progress,
    ):
        report = restore(args.backup, args.data, redis_url=args.redis_url, on_progress=on_progress)
    if args.json:
        print(json.dumps(dataclasses.asdict(report)))
    else:
        print(f"{report.entries} entries restored into {args.data}, records in {report.store}")
    return 0
