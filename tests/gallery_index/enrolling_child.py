"""The process that `test_kill` kills: it enrols, deletes and erases, and says what it was told.

One line before an operation (`try ...`) and one after it (`done ...`), each a single write to a
pipe: the parent has it whatever happens to us next.
"""

import itertools
import random
from multiprocessing.connection import Connection
from pathlib import Path

from tests.gallery_index.places import Place, enrolled, new


def work(directory: Path, redis_url: str | None, first_seed: int, pipe: Connection) -> None:
    """Work until killed."""

    def say(text: str) -> None:
        pipe.send_bytes(text.encode())

    gallery = Place(directory, redis_url).open()
    chance = random.Random(first_seed)
    say("open")
    alive: list[str] = []
    for step in itertools.count():
        seeds = [first_seed + 10 * step + i for i in range(chance.randint(1, 4))]
        names = [f"e{seed}" for seed in seeds]
        say("try add " + " ".join(names))
        enrolled(gallery, *[new(seed, person_id=f"p{seed}") for seed in seeds])
        say("done add " + " ".join(names))
        alive += names
        if chance.random() < 0.4:
            name = alive.pop(chance.randrange(len(alive)))
            say(f"try delete {name}")
            if chance.random() < 0.5:
                gallery.delete(name)
            else:
                gallery.erase_person(f"p{name[1:]}")
            say(f"done delete {name}")
        if chance.random() < 0.1:
            gallery.snapshot()
