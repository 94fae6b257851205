"""`mpanet serve`: serve a model and a gallery over HTTP.

Owns the options of a service; `mpanet demo` takes them from here. What they mean, their defaults
and the environment belong to `service.settings`.
"""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from mpanet.errors import reported

if TYPE_CHECKING:
    from mpanet.evaluation_gate import EvaluationSet
    from service.settings import ServiceSettings

DEMO_MODEL = "demo"
OPTIONS: dict[str, tuple[str, str]] = {
    "model": ("DIR", "the model artifact; `demo` names the bundled demonstration model"),
    "data": ("DIR", "the gallery; made where it is not there yet"),
    "models": ("DIR", "the models that it has (models in the data directory)"),
    "max-model-bytes": ("N", "most bytes of a model that is published (1 GiB)"),
    "publish-timeout-s": ("S", "seconds within which a published model must run (60)"),
    "publish-read-timeout-s": ("S", "seconds within which a model must have arrived (900)"),
    "evaluation-set": ("SET", "folder with a manifest.csv, or NAME:DIR, that measures new models"),
    "evaluation-margin": ("P", "percentage points of mAP that a new model may be worse (1.0)"),
    "host": ("HOST", "address to listen on (127.0.0.1)"),
    "port": ("N", "port to listen on; 0 picks a free one (8000)"),
    "redis-url": ("URL", "keep the metadata in this Redis instead of SQLite"),
    "qdrant-url": ("URL", "keep the vectors in this Qdrant: several services on one gallery"),
    "crop-store": ("URL", "where the crops of such a gallery are, a URL that fsspec opens"),
    "store-crops": ("BOOL", "keep the crops; false: no other model can embed them later (true)"),
    "retention-days": ("N", "let entries expire this long after their capture time (never)"),
    "recall-target": ("SHARE", "least share of the ten nearest that searches find (0.99)"),
    "provider": ("NAME", "execution provider: auto, cpu, openvino, cuda, tensorrt (auto)"),
    "threads": ("N", "threads of the encoder (one a core)"),
    "decode-threads": ("N", "threads that decode images (2)"),
    "max-upload-bytes": ("N", "most bytes of one image (10 MiB)"),
    "max-request-bytes": ("N", "most bytes of one request (64 MiB)"),
    "max-pixels": ("N", "most pixels of one image (25 million)"),
    "max-files": ("N", "most images of one request (256)"),
    "max-batch": ("N", "most crops in one run of the encoder (32)"),
    "max-batch-s": ("S", "seconds that a run of the encoder should take at most (0.1)"),
    "refresh-batch-s": ("S", "the same of a run for a model refresh: queries wait for it (0.015)"),
    "max-queue": ("N", "most crops of queries, and of enrolments, at once (512)"),
    "max-bytes-in-flight": ("N", "most bytes of requests in the service at once (256 MiB)"),
    "max-connections": ("N", "most connections at once (1024)"),
    "query-deadline-s": ("S", "seconds within which a query is answered or refused (10)"),
    "enroll-deadline-s": ("S", "seconds within which crops are embedded or refused (60)"),
    "explain-kept-s": ("S", "seconds that a query asked with explain may be looked into (600)"),
    "read-timeout-s": ("S", "seconds within which a request must have arrived (30)"),
    "shutdown-s": ("S", "seconds that a stop waits for what is under way (10)"),
    "keys": ("FILE", "hashed API keys, made by `mpanet keys` (keys.json in the data directory)"),
    "rate-limit": ("N", "requests a key may make in a minute (no limit)"),
    "audit-days": ("N", "days that the audit log is kept (365)"),
    "log-format": ("FORMAT", "json or text (json)"),
}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options of `mpanet serve`."""
    add_options(parser)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add every option of a service; what is not given comes from `MPANET_*` or its default."""
    parser.epilog = (
        "Every option also by environment: --redis-url is MPANET_REDIS_URL. API keys only there:"
        " MPANET_API_KEY, several separated by commas."
    )
    for name, (metavar, summary) in OPTIONS.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=summary)
    parser.add_argument(
        "--insecure",
        action="store_true",
        default=None,
        help="listen beyond this machine although there is no API key",
    )


def settings_from(
    args: argparse.Namespace, defaults: Mapping[str, object] | None = None
) -> "ServiceSettings":
    """Build the settings: the command line wins over the environment, that over `defaults`.

    Raises: CommandError naming the option that cannot be used.
    """
    from service.settings import PREFIX, SettingsError, load_settings

    names = [*(name.replace("-", "_") for name in OPTIONS), "insecure"]
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    unset = {
        name: value
        for name, value in (defaults or {}).items()
        if not os.environ.get(PREFIX + name.upper())
    }
    with reported(SettingsError):
        settings = load_settings({**unset, **given}, os.environ)
    if settings.model == Path(DEMO_MODEL):
        return settings.model_copy(update={"model": demo_model_directory()})
    return settings


def demo_model_directory() -> Path:
    """Return where the bundled demonstration model is."""
    return Path(__file__).parent.parent / "demo_model"


def run(args: argparse.Namespace) -> int:
    """Run `mpanet serve` until it is told to stop."""
    settings = settings_from(args)
    from service.opening import StartError
    from service.server import run

    evaluate = evaluation_set_of(settings)
    with reported(StartError):
        run(
            settings,
            # one write: the lines of other threads must not come between the address and its end
            on_ready=lambda address: print(f"serving on {address}\n", end="", flush=True),
            evaluate=evaluate,
        )
    return 0


def evaluation_set_of(settings: "ServiceSettings") -> "EvaluationSet | None":
    """Read what new models are measured on, if the settings name anything.

    Raises: CommandError: it cannot be read.
    """
    if settings.evaluation_set is None:
        return None
    from mpanet.evaluation_gate import evaluation_set

    return evaluation_set(settings.evaluation_set)
