"""`explain` over HTTP: parts that sum, a picture for a short time and for whoever asked."""

import io
from pathlib import Path

import httpx
import pytest
from PIL import Image

from gallery_index.gallery import Gallery
from service.app import create_app
from service.settings import ServiceSettings
from tests.service.asgi import running
from tests.service.claims import problem_of
from tests.service.fakes import ProjectedEncoder, TinyEncoder, crop

VISIBLE = {"modality": "visible"}
EXPLAINED = {**VISIBLE, "explain": "true"}


def enrol(http: httpx.Client, *seeds: int) -> None:
    for seed in seeds:
        sent = {**VISIBLE, "entry_id": f"e{seed}", "person_id": f"p{seed % 2}"}
        assert http.post("/gallery", files={"file": crop(seed)}, data=sent).is_success


@pytest.mark.parametrize(
    "asked", [{}, {"rerank": "true"}, {"group_by": "person"}, {"top_k": "1"}], ids=str
)
def test_the_parts_of_every_match_sum_to_its_similarity(
    http: httpx.Client, asked: dict[str, str]
) -> None:
    enrol(http, *range(6))
    files = [("file", crop(1)), ("file", crop(3))]
    answer = http.post("/query", files=files, data={**EXPLAINED, **asked}).json()
    assert answer["matches"]
    for match in answer["matches"]:
        names = [part["pattern"] for part in match["patterns"]]
        assert names == [*(f"pattern_{n}" for n in range(1, 6)), "global"]
        total = sum(part["similarity"] for part in match["patterns"])
        assert total == pytest.approx(match["similarity"], abs=1e-6)
    plain = http.post("/query", files=files, data={**VISIBLE, **asked}).json()
    assert [m["entry_id"] for m in plain["matches"]] == [m["entry_id"] for m in answer["matches"]]
    assert not {"patterns", "patterns_url"} & plain["matches"][0].keys()


def test_a_match_is_drawn_for_each_crop_of_the_query(http: httpx.Client) -> None:
    enrol(http, 1, 2)
    files = [("file", crop(1)), ("file", crop(9))]
    answer = http.post("/query", files=files, data=EXPLAINED).json()
    pictures = []
    for number in (1, 2):
        response = http.get(f"{answer['matches'][0]['patterns_url']}&crop={number}")
        assert response.headers["Content-Type"] == "image/png"
        assert response.headers["Cache-Control"] == "private, no-store"
        pictures.append(Image.open(io.BytesIO(response.content)).tobytes())
    assert pictures[0] != pictures[1]
    third = http.get(f"{answer['matches'][0]['patterns_url']}&crop=3")
    problem_of(third, 404, "query_not_found")
    problem_of(http.get(f"{answer['matches'][0]['patterns_url']}&crop=0"), 422, "invalid_fields")


def test_what_was_not_asked_or_not_shown_cannot_be_looked_into(http: httpx.Client) -> None:
    enrol(http, 1, 2)
    plain = http.post("/query", files={"file": crop(1)}, data=VISIBLE).json()
    path = "/queries/{}/patterns.png?entry_id={}"
    problem_of(http.get(path.format(plain["query_id"], "e1")), 404, "query_not_found")
    problem_of(http.get(path.format("none", "e1")), 404, "query_not_found")
    asked = {**EXPLAINED, "top_k": "1"}
    explained = http.post("/query", files={"file": crop(1)}, data=asked).json()
    problem_of(http.get(path.format(explained["query_id"], "e2")), 404, "entry_not_found")
    http.delete("/gallery/e1")
    problem_of(http.get(path.format(explained["query_id"], "e1")), 404, "entry_not_found")
    http.post("/gallery", files={"file": crop(5)}, data={**VISIBLE, "entry_id": "e1"})
    problem_of(http.get(path.format(explained["query_id"], "e1")), 404, "entry_not_found")


def test_only_the_key_that_asked_gets_the_picture(
    settings: ServiceSettings, gallery: Gallery
) -> None:
    keyed = settings.model_copy(update={"api_key": None})
    keyed = ServiceSettings.model_validate({**keyed.model_dump(), "api_key": "one-key,other-key"})
    with (
        running(create_app(keyed, TinyEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        http.headers["X-API-Key"] = "one-key"
        enrol(http, 1)
        answer = http.post("/query", files={"file": crop(1)}, data=EXPLAINED).json()
        url = answer["matches"][0]["patterns_url"]
        assert http.get(url).is_success
        problem_of(http.get(url, headers={"X-API-Key": "other-key"}), 404, "query_not_found")


def test_a_projected_model_has_no_parts_but_a_picture(
    settings: ServiceSettings, tmp_path: Path
) -> None:
    gallery = Gallery.open(tmp_path / "projected", model_id="tiny-model", embedding_dim=100)
    with (
        running(create_app(settings, ProjectedEncoder(), gallery)) as transport,
        httpx.Client(transport=transport, base_url="http://localhost") as http,
    ):
        enrol(http, 1)
        [match] = http.post("/query", files={"file": crop(1)}, data=EXPLAINED).json()["matches"]
        assert match["patterns"] is None
        assert http.get(match["patterns_url"]).is_success
    gallery.close()


def test_the_crops_of_a_query_are_never_on_the_disk(
    http: httpx.Client, settings: ServiceSettings
) -> None:
    enrol(http, 1)
    answer = http.post("/query", files={"file": crop(77)}, data=EXPLAINED).json()
    assert http.get(answer["matches"][0]["patterns_url"]).is_success
    stored = [path for path in settings.data.rglob("*") if path.is_file()]
    assert stored
    assert not [path for path in stored if crop(77) in path.read_bytes()]
