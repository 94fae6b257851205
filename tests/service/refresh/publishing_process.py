"""A program that publishes a model into a registry, to be killed meanwhile."""

import sys
from pathlib import Path

from service.refresh.registry import ModelRegistry
from service.refresh.verification import Trials

if __name__ == "__main__":
    models, model = map(Path, sys.argv[1:])
    ModelRegistry(models, Trials(provider="cpu", timeout_s=60)).publish(model, by="ann")
