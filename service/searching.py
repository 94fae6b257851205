"""From a query's embedding and fields to its matches: plain search, then re-ranking if asked for.

Owns what the fields of `POST /query` mean to the gallery. Knows nothing of HTTP.
"""

import time
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gallery_index.person_gallery import PersonGallery
from gallery_index.query_reranking import CANDIDATES
from gallery_index.records import EntryFilter, Match
from service.bodies.fields import FilterFields, ListFields, QueryFields


@dataclass(frozen=True, slots=True)
class Found:
    """The matches of a query, best first, and what each stage took in milliseconds.

    `gallery_size` counts all entries, filtered ones included.
    """

    matches: list[Match]
    gallery_size: int
    search_ms: float
    rerank_ms: float


def find(
    gallery: PersonGallery, query: NDArray[np.float32], fields: QueryFields, model_id: str
) -> Found:
    """Search with an embedding (D,) by a model.

    Re-ranking orders the same nearest entries whatever `top_k`, `group_by` and `min_similarity`
    are; those cut its answer. Raises: as `Gallery.search`; ModelChangedError.
    """
    started = time.perf_counter()
    if not fields.rerank:
        matches = gallery.search(
            query,
            top_k=fields.top_k,
            filter=query_filter(fields),
            group_by=fields.group_by,
            min_similarity=fields.min_similarity,
            model_id=model_id,
        )
        return Found(matches, len(gallery), _ms_since(started), 0.0)
    nearest = _nearest(gallery, query, fields, model_id)
    search_ms = _ms_since(started)
    started = time.perf_counter()
    matches = gallery.reranked(
        nearest,
        top_k=fields.top_k,
        group_by=fields.group_by,
        min_similarity=fields.min_similarity,
        model_id=model_id,
    )
    return Found(matches, len(gallery), search_ms, _ms_since(started))


def list_filter(fields: ListFields) -> EntryFilter:
    """Return which entries a listing shows."""
    return replace(_filter(fields), modality=fields.modality)


def query_filter(fields: QueryFields) -> EntryFilter:
    """Return which entries a query searches."""
    return replace(
        _filter(fields),
        exclude_person_id=_names(fields.exclude_person_id),
        exclude_camera_id=_names(fields.exclude_camera_id),
        modality=None if fields.target_modality == "any" else fields.target_modality,
    )


def _nearest(
    gallery: PersonGallery, query: NDArray[np.float32], fields: QueryFields, model_id: str
) -> list[Match]:
    """Return the entries to re-rank, and behind them what `top_k` may need beside: nearest first.

    A person who has an entry among the first needs no other; those that follow are of persons who
    have none.
    """
    filter = query_filter(fields)
    by_person = fields.group_by == "person"
    wanted = CANDIDATES if by_person else max(CANDIDATES, fields.top_k)
    nearest = gallery.search(query, top_k=wanted, filter=filter, model_id=model_id)
    if not by_person or len(nearest) < wanted or _persons(nearest) >= fields.top_k:
        return nearest
    rows = {match.entry.row for match in nearest}
    each = gallery.search(
        query, top_k=fields.top_k, filter=filter, group_by="person", model_id=model_id
    )
    return nearest + [match for match in each if match.entry.row not in rows]


def _persons(matches: list[Match]) -> int:
    """Count who would be left after grouping; an entry without a person stands for itself."""
    return len({match.entry.person_id or match.entry.row for match in matches})


def _filter(fields: FilterFields) -> EntryFilter:
    return EntryFilter(
        person_id=_names(fields.person_id),
        camera_id=_names(fields.camera_id),
        captured_after=fields.captured_after,
        captured_before=fields.captured_before,
        attributes=fields.attributes or {},
    )


def _names(names: list[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _ms_since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
