"""The typed dictionaries of the client are the bodies of the service, field by field."""

from typing import NotRequired, get_origin, get_type_hints

import pytest
from pydantic import BaseModel

from service import client_answers as answers
from service.bodies import model_bodies, schemas
from service.bodies.fields import EntryPatch

PAIRS: list[tuple[type, type[BaseModel]]] = [
    (answers.Entry, schemas.EntryBody),
    (answers.Page, schemas.PageBody),
    (answers.FieldError, schemas.FieldErrorBody),
    (answers.Problem, schemas.Problem),
    (answers.BatchResult, schemas.BatchItem),
    (answers.Receipt, schemas.ReceiptBody),
    (answers.Timings, schemas.Timings),
    (answers.Match, schemas.MatchBody),
    (answers.QueryAnswer, schemas.QueryBody),
    (answers.Embedding, schemas.EmbedBody),
    (answers.PatternPart, schemas.PatternPart),
    (answers.Comparison, schemas.CompareBody),
    (answers.Model, model_bodies.ModelBody),
    (answers.Models, model_bodies.ModelsBody),
    (answers.Job, model_bodies.JobBody),
    (answers.Jobs, model_bodies.JobsBody),
    (answers.Reclaimed, model_bodies.ReclaimBody),
    (answers.Health, schemas.HealthBody),
    (answers.ReadyModel, schemas.ReadyModel),
    (answers.ReadyStore, schemas.ReadyStore),
    (answers.ReadyIndex, schemas.ReadyIndex),
    (answers.ReadyCheck, schemas.ReadyCheck),
    (answers.Readiness, schemas.ReadyBody),
    (answers.EntryChanges, EntryPatch),
]


@pytest.mark.parametrize(("answer", "body"), PAIRS, ids=lambda kind: kind.__name__)
def test_a_client_knows_the_fields_of_a_body(answer: type, body: type[BaseModel]) -> None:
    hints = get_type_hints(answer, include_extras=True)
    assert hints.keys() == body.model_fields.keys()
    optional = {name for name, hint in hints.items() if get_origin(hint) is NotRequired}
    left_out = {name for name, field in body.model_fields.items() if not field.is_required()}
    assert optional == left_out or answer is answers.EntryChanges
