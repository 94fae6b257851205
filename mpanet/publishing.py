"""A trained run made a model of a running service: exported, measured if it can be, published."""

import argparse
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from mpanet.commands.export import FIGURES
from mpanet.connection import connect, failure
from mpanet.errors import CommandError, reported
from mpanet.refreshing import activate

if TYPE_CHECKING:
    from model.artifact import ModelArtifact
    from service.client import ServiceClient

MODEL = "model"
"""The folder of a run that its artifact is in."""


def connection(args: argparse.Namespace) -> "ServiceClient":
    """Open a client of the service that `--publish` and `--key` name, once it has answered.

    Raises: CommandError: now rather than after the training.
    """
    from service.client import ServiceError

    client = connect(argparse.Namespace(url=args.publish, api_key=args.key))
    try:
        client.models()
    except ServiceError as error:
        client.close()
        raise failure(error) from None
    return client


def publish_run(args: argparse.Namespace, weights: Path) -> None:
    """Export the weights of a run, measure the model, publish and activate it.

    Raises: CommandError; the model is in the run's folder from the export on.
    """
    from service.client import ServiceError

    directory = args.out / MODEL
    artifact = measured(export_run(weights, directory), args)
    try:
        with connection(args) as client:
            client.publish_model(directory)
            print(f"published as {artifact.model_id}", file=sys.stderr)
            job = activate(client, artifact.model_id, args)
    except ServiceError as error:
        raise _kept(failure(error), directory) from None
    except CommandError as error:
        raise _kept(error, directory) from None
    count = "" if job is None else f"; {job['done']:,} entries have its embeddings"
    print(f"{artifact.model_id} is active{count}")


def export_run(weights: Path, directory: Path) -> "ModelArtifact":
    """Turn a checkpoint into an artifact, in the place of an earlier one of the same run.

    Raises: CommandError.
    """
    from model.artifact import ModelSource
    from model.errors import ModelError
    from model.network.checkpoint import load_network
    from model.network.export import export_artifact

    with reported(ModelError):
        loaded = load_network(weights, None)
        shutil.rmtree(directory, ignore_errors=True)
        source = ModelSource(recipe=loaded.source.get("recipe"), commit=loaded.source.get("commit"))
        artifact, _ = export_artifact(
            loaded.network, directory, preprocessing=loaded.preprocessing, source=source
        )
    return artifact


def measured(artifact: "ModelArtifact", args: argparse.Namespace) -> "ModelArtifact":
    """Put the figures on the dataset's test split into the manifest, where it has one.

    Raises: CommandError: the images cannot be read.
    """
    from model.artifact import ModelFigures, with_metrics
    from model.encoder import Encoder
    from model.errors import ModelError
    from training.artifact_embedding import embed_samples
    from training.assessment import assess, assessments
    from training.errors import DatasetError, ProtocolError, TrainingError

    try:
        parts = assessments(args.dataset, args.data, splits=[args.split])
    except (DatasetError, ProtocolError) as error:
        print(f"the model is not measured: {error}", file=sys.stderr)
        return artifact
    with reported(ModelError, TrainingError, OSError), Encoder.open(artifact) as encoder:
        rows, _ = assess(
            parts, "model", lambda samples: embed_samples(encoder, samples, progress=True)
        )
        figures = {
            f"{args.dataset}: {row.protocol}; {row.sampling}": {
                name: getattr(row.mean, name) for name in FIGURES
            }
            for row in rows
        }
        return with_metrics(artifact.directory, ModelFigures(artifact.model_id, figures))


def _kept(error: CommandError, directory: Path) -> CommandError:
    return CommandError(
        f"{error}; the model is in {directory}, to be published when that is settled",
        exit_code=error.exit_code,
    )
