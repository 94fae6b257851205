"""From a query's embedding and fields to its matches: plain search, then re-ranking if asked for.

Owns what the fields of `POST /query` mean to the gallery. Knows nothing of HTTP.
"""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from gallery_index.person_gallery import PersonGallery
from gallery_index.query_reranking import CANDIDATES
from gallery_index.records import EntryFilter, Match
from model.calibration import PairKind, pair_kind
from service.bodies.fields import FilterFields, ListFields, ModalityName, QueryFields


@dataclass(frozen=True, slots=True)
class Found:
    """The matches of a query, best first, and what each stage took in milliseconds.

    `gallery_size` counts all entries and `individuals` all persons, filtered ones included;
    `compared` those entries that take part, None where nobody asked for it.
    """

    matches: list[Match]
    gallery_size: int
    individuals: int
    search_ms: float
    rerank_ms: float
    compared: int | None = None


def find(
    gallery: PersonGallery,
    query: NDArray[np.float32],
    fields: QueryFields,
    model_id: str,
    thresholds: Mapping[PairKind, float] | None = None,
) -> Found:
    """Search with an embedding (D,) by a model.

    Re-ranking orders the same nearest entries whatever `top_k`, `group_by`, `min_similarity` and
    `thresholds`, the least similarities by kind of pair, are; those cut its answer.
    Raises: as `Gallery.search`; ModelChangedError.
    """
    if thresholds is not None:
        least = _least(fields, thresholds)
        return _find_accepted(gallery, query, fields, model_id, least)
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
        return Found(matches, len(gallery), gallery.individuals(), _ms_since(started), 0.0)
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
    return Found(matches, len(gallery), gallery.individuals(), search_ms, _ms_since(started))


def _find_accepted(
    gallery: PersonGallery,
    query: NDArray[np.float32],
    fields: QueryFields,
    model_id: str,
    least: Mapping[str, float],
) -> Found:
    """Search for what is alike enough for its modality."""
    started = time.perf_counter()
    compared = gallery.count(query_filter(fields))
    accepted = _accepted(gallery, query, fields, model_id, least)
    if not fields.rerank:
        return Found(
            accepted, len(gallery), gallery.individuals(), _ms_since(started), 0.0, compared
        )
    nearest = _nearest(gallery, query, fields, model_id)
    search_ms = _ms_since(started)
    started = time.perf_counter()
    first, rest = nearest[:CANDIDATES], nearest[CANDIDATES:]
    order = gallery.reranked(first, top_k=CANDIDATES, model_id=model_id)
    behind = {match.entry.row: match for match in (*rest, *accepted)}
    for match in first:
        behind.pop(match.entry.row, None)
    matches = _cut([*order, *sorted(behind.values(), key=_plain_order)], fields, least)
    return Found(
        matches, len(gallery), gallery.individuals(), search_ms, _ms_since(started), compared
    )


def target_modalities(fields: QueryFields) -> list[ModalityName]:
    """Return the modalities of the entries that a query searches."""
    if fields.target_modality == "any":
        return list(get_args(ModalityName))
    return [fields.target_modality]


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


def _accepted(
    gallery: PersonGallery,
    query: NDArray[np.float32],
    fields: QueryFields,
    model_id: str,
    least: Mapping[str, float],
) -> list[Match]:
    """Return the nearest entries that are alike enough.

    Each modality is searched for itself: many entries of one that are near, but not near enough,
    would take the places of the other's.
    """
    found: list[Match] = []
    for modality, similarity in least.items():
        found += gallery.search(
            query,
            top_k=fields.top_k,
            filter=replace(query_filter(fields), modality=modality),
            group_by=fields.group_by,
            min_similarity=similarity,
            model_id=model_id,
        )
    return _cut(sorted(found, key=_plain_order), fields, least)


def _least(fields: QueryFields, thresholds: Mapping[PairKind, float]) -> dict[str, float]:
    """Return the least similarity of an entry of each modality that is searched."""
    floor = -math.inf if fields.min_similarity is None else fields.min_similarity
    return {
        modality: max(floor, thresholds[pair_kind(fields.modality, modality)])
        for modality in target_modalities(fields)
    }


def _plain_order(match: Match) -> tuple[float, int]:
    return -match.similarity, match.entry.row


def _cut(matches: Sequence[Match], fields: QueryFields, least: Mapping[str, float]) -> list[Match]:
    """Return the first that are alike enough, of each person one where that is asked for."""
    persons: set[str] = set()
    kept = []
    for match in matches:
        person = match.entry.person_id
        if match.similarity < least[match.entry.modality] or person in persons:
            continue
        if fields.group_by == "person" and person is not None:
            persons.add(person)
        kept.append(match)
    return kept[: fields.top_k]


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
