"""Ids of requests and queries: to be told apart by, not to be secret."""

import random


def new_id() -> str:
    """Return 128 random bits in hex. Not of the system's source: that is a call of it each time."""
    return f"{random.getrandbits(128):032x}"
