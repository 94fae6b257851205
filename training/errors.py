"""What can go wrong in training and evaluation.

TrainingError
├── DatasetError    the files are not the dataset they should be
├── RecipeError     a recipe cannot be read
├── ProtocolError   embeddings or permutations do not fit the protocol
├── ProjectionError embeddings do not span the dimensions asked for
└── RunError        a run directory cannot be started or resumed
"""


class TrainingError(Exception):
    """Anything that training or evaluation refuses, with a message for a person."""


class DatasetError(TrainingError):
    """The files of a dataset are missing, broken or not as its layout says."""


class RecipeError(TrainingError):
    """A recipe has an unknown key, an ill-typed value, or does not exist."""


class ProtocolError(TrainingError):
    """Embeddings, labels or permutations do not fit the evaluation protocol."""


class ProjectionError(TrainingError):
    """Embeddings do not span as many dimensions as a projection should keep."""


class RunError(TrainingError):
    """A run directory cannot be started or resumed."""
