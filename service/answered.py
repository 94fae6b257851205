"""A query that was answered: by which model, how sure, with which parts; the body that says so."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import Request

from gallery_index.person_gallery import PersonGallery
from gallery_index.records import Match
from model.calibration import PairKind, pair_kind
from service.access.caller import Caller
from service.bodies.fields import QueryFields
from service.bodies.schemas import (
    MatchBody,
    PatternPart,
    QueryBody,
    Timings,
    explanation,
    match_body,
)
from service.bodies.uploads import Upload
from service.engine.crop_jobs import EmbeddedCrop
from service.errors import NotCalibratedError, RateNotPromisedError
from service.explaining.kept_queries import KeptQuery
from service.explaining.parts import parts_of
from service.ids import new_id
from service.observing.score_drift import KNOWN_AT
from service.refresh.served import ServedModel
from service.scores import SeenPerson, prior_among, thresholds_at
from service.searching import Found, find, target_modalities

Parts = list[list[PatternPart] | None]


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What is searched for, with which model; the thresholds of a rate if one was asked for."""

    fields: QueryFields
    served: ServedModel
    crops: Sequence[EmbeddedCrop]
    person: SeenPerson
    thresholds: dict[PairKind, float] | None

    @classmethod
    def of(cls, fields: QueryFields, served: ServedModel, crops: Sequence[EmbeddedCrop]) -> "Asked":
        """Return what crops of one person ask. Raises: as `thresholds_at`."""
        person = SeenPerson.of(fields.modality, [crop.embedding for crop in crops])
        demanded = demanded_thresholds(fields, served)
        least = None if demanded is None else person.least(demanded)
        return cls(fields, served, crops, person, least)

    def answer(self, gallery: PersonGallery) -> "Answered":
        """Search, and take the similarities apart if that is asked for. Raises: as `find`."""
        direction, model_id = self.person.direction, self.served.model_id
        found = find(gallery, direction, self.fields, model_id, self.thresholds)
        parts: Parts | None = None
        if self.fields.explain:
            config = self.served.encoder.config
            parts = parts_of(gallery, found.matches, direction, model_id, config)
        return Answered(self, found, parts)


@dataclass(frozen=True, slots=True, eq=False)
class Answered:
    """What was found."""

    asked: Asked
    found: Found
    parts: Parts | None

    @property
    def prior(self) -> float:
        """How probable it was that an entry shows the person, before it was looked at."""
        return prior_among(self.found.individuals)

    def is_known(self) -> bool | None:
        """Return whether a match is one at the rate of `KNOWN_AT`; None where none can tell.

        A query that asks for more than that is no measure of who is known.
        """
        fields = self.asked.fields
        rate = fields.max_false_accept_rate
        if fields.min_similarity is not None or (rate is not None and rate < KNOWN_AT):
            return None
        try:
            calibration = self.asked.served.calibration
            thresholds = thresholds_at(KNOWN_AT, _pairs(fields), calibration)
        except (NotCalibratedError, RateNotPromisedError):
            return None
        least = self.asked.person.least(thresholds)
        return any(
            match.similarity >= least[pair_kind(fields.modality, match.entry.modality)]
            for match in self.found.matches
        )

    def kept(self, query_id: str, request: Request, uploads: Sequence[Upload]) -> KeptQuery:
        """Return what of a query is needed to look into it."""
        caller = request.state.caller
        assert isinstance(caller, Caller)
        return KeptQuery(
            query_id,
            caller.key_id,
            self.asked.served,
            [upload.content() for upload in uploads],
            self.asked.person.direction,
            {match.entry.entry_id: match.entry.row for match in self.found.matches},
        )

    def body(self, timings: Timings) -> QueryBody:
        """Return the answer as clients see it, under a new id."""
        query_id = new_id()
        rate, compared = self.asked.fields.max_false_accept_rate, self.found.compared
        return QueryBody(
            query_id=query_id,
            model_id=self.asked.served.model_id,
            gallery_size=self.found.gallery_size,
            timings_ms=timings,
            unknown=not self.found.matches,
            prior=self.prior,
            thresholds=self.asked.thresholds,
            compared=compared,
            expected_false_accepts=None if rate is None or compared is None else rate * compared,
            matches=[
                self._match(query_id, rank, match)
                for rank, match in enumerate(self.found.matches, start=1)
            ],
        )

    def _match(self, query_id: str, rank: int, match: Match) -> MatchBody:
        calibration = self.asked.served.calibration
        probability = self.asked.person.probability(
            match.entry.modality, match.similarity, calibration, self.prior
        )
        body = match_body(rank, match, probability)
        if self.parts is None:
            return body
        said: dict[str, Any] = explanation(query_id, match.entry, self.parts[rank - 1])
        return body.model_copy(update=said)


def demanded_thresholds(fields: QueryFields, served: ServedModel) -> dict[PairKind, float] | None:
    """Return the thresholds of the rate that is asked for. Raises: as `thresholds_at`."""
    if fields.max_false_accept_rate is None:
        return None
    return thresholds_at(fields.max_false_accept_rate, _pairs(fields), served.calibration)


def _pairs(fields: QueryFields) -> list[PairKind]:
    return [pair_kind(fields.modality, target) for target in target_modalities(fields)]
