"""One of several processes on a shared gallery: enrols, changes and deletes until it is killed.

Arguments: Redis URL, Qdrant URL, crop store, a number that no other child has. Prints a line for
what is acknowledged: `+ID` an entry, `=ID` a change of its person, `-ID` a deletion; `?ID` before a
deletion begins.
"""

import itertools
import sys

from gallery_index.records import EntryChanges
from gallery_index.shared.gallery import SharedGallery
from tests.gallery_index.places import DIM, MODEL, enrolled, new


def main(redis_url: str, qdrant_url: str, crop_store: str, number: str) -> None:
    gallery = SharedGallery.open(
        redis_url=redis_url,
        qdrant_url=qdrant_url,
        crop_store=crop_store,
        model_id=MODEL,
        embedding_dim=DIM,
    )
    for seed in itertools.count(100_000 * int(number)):
        enrolled(gallery, new(seed, person_id="ann"))
        print(f"+e{seed}", flush=True)
        gallery.update(f"e{seed}", EntryChanges(person_id="bob"))
        print(f"=e{seed}", flush=True)
        if seed % 3 == 0:
            print(f"?e{seed}", flush=True)
            gallery.delete(f"e{seed}")
            print(f"-e{seed}", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
