"""What can go wrong while people are rendered to disk.

SynthesisError
"""


class SynthesisError(Exception):
    """A data set cannot be rendered as asked; nothing was left behind."""
