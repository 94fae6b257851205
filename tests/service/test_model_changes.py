"""What requests see of a gallery whose model changes under them: the old or the new, no mixture."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray

from gallery_index.gallery import Gallery
from service.app import create_app
from service.refresh.served import ServedModel
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.fakes import MODEL_ID, TinyEncoder, TinyEncoding, crop, embedded_by

VISIBLE = {"modality": "visible"}
DIM = TinyEncoder.config.embedding_dim


class Watched(TinyEncoder):
    """Says when it has embedded something, before anybody gets to know the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.when_embedded: Callable[[], object] = lambda: None

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        encoding = super().encode(batch)
        self.when_embedded()
        return encoding


class Candidate(Watched):
    """Another model: the numbers in another order, so that no crop is like itself by the first."""

    model_id = "candidate"

    def encode(self, batch: NDArray[np.float32]) -> TinyEncoding:
        return TinyEncoding(np.roll(super().encode(batch).embedding, 1234, axis=1))


class Changing:
    """A service whose gallery goes over to the other model when it is told to."""

    def __init__(self, settings: ServiceSettings, gallery: Gallery) -> None:
        self.first, self.second = Watched(), Candidate()
        self.gallery = gallery
        self.app = create_app(settings, self.first, gallery)
        self.app.state.context.models.add(ServedModel(self.second))

    def switch(self) -> None:
        """Search with the other model."""
        other = self.second if self.gallery.model_id == MODEL_ID else self.first
        if self.gallery.other() is None:
            self.gallery.begin_refresh(other.model_id, DIM)
        self.gallery.switch(lambda crops: [embedded_by(other, crop) for crop in crops])

    def switch_once(self) -> None:
        """Change over at the next embedding, whoever makes it, and never again."""

        def change() -> None:
            self.first.when_embedded = self.second.when_embedded = lambda: None
            self.switch()

        self.first.when_embedded = self.second.when_embedded = change

    def switch_always(self) -> None:
        """Change over at every embedding, but for those that a switch makes itself."""

        def change() -> None:
            self.first.when_embedded = self.second.when_embedded = lambda: None
            self.switch()
            self.switch_always()

        self.first.when_embedded = self.second.when_embedded = change


@contextmanager
def serving(changing: Changing) -> Iterator[httpx.Client]:
    with (
        running(changing.app) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as client,
    ):
        yield client


@pytest.fixture
def changing(settings: ServiceSettings, gallery: Gallery) -> Changing:
    return Changing(settings, gallery)


@pytest.mark.parametrize("rerank", ["false", "true"])
def test_a_query_during_a_switch_is_embedded_anew(changing: Changing, rerank: str) -> None:
    with serving(changing) as http:
        for seed in range(4):
            http.post("/gallery", files={"file": crop(seed)}, data=VISIBLE)
        changing.switch_once()
        asked = {**VISIBLE, "rerank": rerank}
        answer = http.post("/query", files={"file": crop(2)}, data=asked).json()
    assert answer["model_id"] == "candidate"
    assert answer["matches"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert changing.first.batch_sizes[-1] == changing.second.batch_sizes[-1] == 1


def test_an_enrolment_during_a_switch_is_embedded_anew(changing: Changing) -> None:
    with serving(changing) as http:
        http.post("/gallery", files={"file": crop(1)}, data=VISIBLE)
        changing.switch_once()
        entry = http.post("/gallery", files={"file": crop(2)}, data=VISIBLE).json()
        assert entry["model_id"] == "candidate"
        answer = http.post("/query", files={"file": crop(2)}, data=VISIBLE).json()
    assert answer["matches"][0]["entry_id"] == entry["entry_id"]
    assert answer["matches"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert len(changing.gallery) == 2


def test_a_model_that_never_stays_is_said_to_be_changing(changing: Changing) -> None:
    with serving(changing) as http:
        http.post("/gallery", files={"file": crop(1)}, data=VISIBLE)
        changing.switch_always()
        refused = http.post("/query", files={"file": crop(2)}, data=VISIBLE)
    problem_of(refused, 503, "model_changing")


def test_embed_and_compare_name_the_model_that_they_used(changing: Changing) -> None:
    with serving(changing) as http:
        first = http.post("/embed", files={"file": crop(1)}, data=VISIBLE).json()
        changing.switch()
        second = http.post("/embed", files={"file": crop(1)}, data=VISIBLE).json()
        pair = [("file", crop(1)), ("file", crop(1))]
        compared = http.post("/compare", files=pair, data=VISIBLE).json()
    assert (first["model_id"], second["model_id"]) == (MODEL_ID, "candidate")
    assert compared["model_id"] == "candidate"
    assert np.allclose(np.roll(first["embedding"], 1234), second["embedding"])


def test_crops_switched_off_are_kept_nowhere_and_embedded_by_both_models(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    changing = Changing(settings.model_copy(update={"store_crops": False}), gallery)
    gallery.begin_refresh("candidate", DIM)
    with serving(changing) as http:
        entry = http.post("/gallery", files={"file": crop(1)}, data=VISIBLE).json()
        assert entry["crop_url"] is None
        refused = http.get(f"/gallery/{entry['entry_id']}/crop")
        problem_of(refused, 404, "crop_not_kept")
        changing.switch()
        answer = http.post("/query", files={"file": crop(1)}, data=VISIBLE).json()
    assert answer["matches"][0]["similarity"] == pytest.approx(1, abs=1e-3)
    assert answer["matches"][0]["crop_url"] is None
    stored = [path for path in settings.data.rglob("*") if path.is_file()]
    assert not [path for path in stored if crop(1) in path.read_bytes()]


@pytest.mark.parametrize("moment", ["embedding", "adding"])
def test_a_crop_that_is_not_kept_is_in_a_generation_that_begins_while_it_is_enrolled(
    settings: ServiceSettings, gallery: Gallery, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    changing = Changing(settings.model_copy(update={"store_crops": False}), gallery)
    add = gallery.add

    def begin_and_add(*args: Any, **kwargs: Any) -> Any:
        gallery.begin_refresh("candidate", DIM)
        return add(*args, **kwargs)

    if moment == "adding":
        monkeypatch.setattr(gallery, "add", begin_and_add)
    else:
        changing.first.when_embedded = lambda: gallery.begin_refresh("candidate", DIM)
    with serving(changing) as http:
        entry = http.post("/gallery", files={"file": crop(1)}, data=VISIBLE).json()
        changing.switch()
        answer = http.post("/query", files={"file": crop(1)}, data=VISIBLE).json()
    assert answer["model_id"] == "candidate"
    assert answer["matches"][0]["entry_id"] == entry["entry_id"]
    assert answer["matches"][0]["similarity"] == pytest.approx(1, abs=1e-3)


def test_crops_that_are_kept_are_embedded_once(changing: Changing) -> None:
    changing.gallery.begin_refresh("candidate", DIM)
    with serving(changing) as http:
        http.post("/gallery", files={"file": crop(1)}, data=VISIBLE)
    assert (changing.first.batch_sizes, changing.second.batch_sizes) == ([1], [])
