"""Affinity inference (Fang et al., SAAI, ICCV 2023): whom an image resembles says who it is.

An image is described by its similarities to its nearest gallery images, a gallery image by the mean
of the descriptions of its nearest ones; the cosine of two descriptions is added to the similarity
itself. Each query is scored alone: it needs no other query.

Source: models/AIM.py of xiaoye-hhh/SAAI. It runs k1 20, k2 6 on multi-shot SYSU-MM01, 4 and 1 on
single-shot all search, 2 and 2 indoor, 8 and 2 on RegDB, and its default is 30 and 6.
"""

import numpy as np
from numpy.typing import NDArray

from gallery_index.reranking import nearest

BLOCK = 512
TINY = np.float32(1e-12)


def affinity(
    query_gallery: NDArray[np.float32],
    gallery_gallery: NDArray[np.float32],
    *,
    k1: int = 30,
    k2: int = 6,
) -> NDArray[np.float32]:
    """Similarities that take the gallery around each image into account: higher is closer.

    Beside its arguments and its result it holds the descriptions of the gallery, (G, G) float32.

    Args:
        query_gallery: (Q, G) cosines.
        gallery_gallery: (G, G) cosines.
        k1: length of a description; cut to the gallery's size. Everything as similar as the last
            one counts too, so that ties do not depend on their order.
        k2: gallery images whose descriptions are averaged; cut to k1.

    Returns:
        (Q, G), float32.

    Raises:
        ValueError: the shapes do not fit, or a setting is below 1.
    """
    entries = query_gallery.shape[1]
    if gallery_gallery.shape != (entries, entries):
        raise ValueError(
            f"{entries} gallery images, but gallery_gallery has shape {gallery_gallery.shape}"
        )
    if k1 < 1 or k2 < 1:
        raise ValueError(f"k1 {k1} and k2 {k2} are at least 1")
    k1 = min(k1, entries)
    described = _gallery_descriptions(gallery_gallery, k1, min(k2, k1))
    found = np.empty_like(query_gallery)
    for start in range(0, len(query_gallery), BLOCK):
        rows = query_gallery[start : start + BLOCK]
        last = _last_of(rows, k1)
        for place, row in enumerate(rows):
            kept = np.flatnonzero(row >= last[place])
            own = row[kept]
            own = own / np.maximum(np.linalg.norm(own), TINY)
            found[start + place] = own @ described[kept] + row
    return found


def _gallery_descriptions(similarity: NDArray[np.float32], k1: int, k2: int) -> NDArray[np.float32]:
    """(G, G): column g is the description of gallery image g, of length 1."""
    entries = len(similarity)
    closest = np.concatenate(
        [nearest(-similarity[at : at + BLOCK], k1) for at in range(0, entries, BLOCK)]
    )
    last = similarity[np.arange(entries), closest[:, -1]]
    described = np.empty((entries, entries), dtype=np.float32)
    for start in range(0, entries, BLOCK):
        total = np.zeros((len(closest[start : start + BLOCK]), entries), dtype=np.float32)
        for source in closest[start : start + BLOCK, :k2].T:
            rows = similarity[source]
            total += np.where(rows >= last[source, None], rows, np.float32(0))
        total /= k2
        total /= np.maximum(np.linalg.norm(total, axis=1, keepdims=True), TINY)
        described[:, start : start + BLOCK] = total.T
    return described


def _last_of(rows: NDArray[np.float32], k1: int) -> NDArray[np.float32]:
    return np.partition(rows, rows.shape[1] - k1, axis=1)[:, rows.shape[1] - k1]
