"""`mpanet score`: the reference's figures from its arrays, and one line for whatever is wrong."""

import json
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from mpanet.cli import main

GOLDEN = Path(__file__).parents[1] / "golden"
SYSU, REGDB = GOLDEN / "sysu_features.npz", GOLDEN / "regdb_features.npz"
PERMUTATIONS = GOLDEN / "rand_perm_cam.mat"

Arrays = dict[str, NDArray[np.generic]]


def score(tmp_path: Path, *arguments: object) -> dict[str, object]:
    """What the command writes to `--json`."""
    out = tmp_path / "figures.json"
    assert main(["score", *map(str, arguments), "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert isinstance(found, dict)
    return found


def sysu(path: Path = SYSU) -> list[object]:
    return ["--protocol", "sysu-mm01", "--embeddings", path]


def arrays(path: Path = SYSU) -> Arrays:
    with np.load(path) as file:
        return dict(file)


def saved(tmp_path: Path, contents: Mapping[str, object]) -> Path:
    path = tmp_path / "embeddings.npz"
    np.savez(path, **contents)  # type: ignore[arg-type]
    return path


def refusal(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line that the command says before it exits with 2."""
    assert main(["score", *map(str, arguments)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize("search", ["all", "indoor"])
@pytest.mark.parametrize("shots", [1, 10])
@pytest.mark.parametrize("variant", ["plain", "reranked"])
def test_sysu_mm01_gives_the_reference_figures(
    search: str, shots: int, variant: str, tmp_path: Path
) -> None:
    expected = json.loads((GOLDEN / "sysu_expected.json").read_text())
    options = ["--rerank"] if variant == "reranked" else []
    drawn = ["--permutations", PERMUTATIONS, "--search", search, "--shots", shots]
    found = score(tmp_path, *sysu(), *drawn, *options)
    for column, value in zip(
        expected["columns"], expected[f"{search}_{shots}_{variant}"], strict=True
    ):
        assert found[column] == pytest.approx(value, abs=1e-3)
    assert found["sampling"] == "rand_perm_cam.mat"
    assert str(found["variant"]).startswith("re-ranked" if options else "plain")


@pytest.mark.parametrize("direction", ["thermal-to-visible", "visible-to-thermal"])
@pytest.mark.parametrize("variant", ["plain", "reranked"])
def test_regdb_gives_the_reference_figures(direction: str, variant: str, tmp_path: Path) -> None:
    expected = json.loads((GOLDEN / "regdb_expected.json").read_text())
    options = ["--rerank"] if variant == "reranked" else []
    common = ["--protocol", "regdb", "--embeddings", REGDB, "--direction", direction]
    found = score(tmp_path, *common, *options)
    key = f"{direction.replace('-', '_')}_{variant}"
    for column, value in zip(expected["columns"], expected[key], strict=True):
        assert found[column] == pytest.approx(value, abs=1e-3)
    assert found["measure"] == "euclidean"
    assert score(tmp_path, *common, "--measure", "cosine")["measure"] == "cosine"


def test_the_result_says_what_it_compares_with(tmp_path: Path) -> None:
    found = score(tmp_path, *sysu(), "--permutations", PERMUTATIONS)
    trials = found["trials"]
    assert isinstance(trials, list)
    assert found["queries"] == 300
    assert found["protocol"] == "SYSU-MM01 all search, 1-shot"
    for name in ("mAP", "rank1", "rank5", "rank10", "rank20", "mINP"):
        values = [trial[name] for trial in trials]
        assert len(values) == 10
        assert found[name] == pytest.approx(np.mean(values))
        assert found["std"][name] == pytest.approx(np.std(values, ddof=1))  # type: ignore[index]


def test_without_permutations_the_gallery_is_drawn_by_seed_and_says_so(tmp_path: Path) -> None:
    found = score(tmp_path, *sysu(), "--trials", 3)
    assert found["sampling"] == "seeded choice"
    assert len(found["trials"]) == 3  # type: ignore[arg-type]


def test_affinity_comes_under_its_own_name(tmp_path: Path) -> None:
    found = score(tmp_path, *sysu(), "--affinity", "--trials", 2)
    assert found["variant"] == "affinity (k1 30, k2 6)"


@pytest.mark.parametrize(("protocol", "trials"), [("llcm", 10), ("cross-modality", 1)])
def test_llcm_and_own_cameras_take_the_same_arrays(
    protocol: str, trials: int, tmp_path: Path
) -> None:
    found = score(tmp_path, "--protocol", protocol, "--embeddings", SYSU)
    assert len(found["trials"]) == trials  # type: ignore[arg-type]
    assert 0 < float(found["mAP"]) < 100  # type: ignore[arg-type]


def test_half_precision_embeddings_are_taken(tmp_path: Path) -> None:
    contents = arrays()
    for name in ("query_embeddings", "gallery_embeddings"):
        contents[name] = contents[name].astype(np.float16)
    assert score(tmp_path, *sysu(saved(tmp_path, contents)), "--trials", 1)["queries"] == 300


def test_scoring_needs_no_torch_and_no_scipy(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['scipy'] = sys.modules['lightning'] = None;"
        "from mpanet.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    options = [*sysu(), "--permutations", PERMUTATIONS, "--rerank", "--trials", 1]
    command = [sys.executable, "-c", code, "score", *map(str, options)]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"query_embeddings": None}, "no array query_embeddings; it has"),
        ({"gallery_image_numbers": None}, "no array gallery_image_numbers"),
        (
            {"query_embeddings": np.zeros((300, 48), int)},
            "query_embeddings: expected floating-point numbers of shape (N, D),"
            " got int64 (300, 48)",
        ),
        ({"query_embeddings": np.zeros(300, np.float32)}, "(N, D), got float32 (300,)"),
        ({"query_embeddings": np.zeros((0, 48), np.float32)}, "at least one row"),
        ({"query_embeddings": np.zeros((300, 9), np.float32)}, "9 dimensions"),
        ({"query_person_ids": np.zeros(299, int)}, "of shape (300,), got int64 (299,)"),
        ({"query_person_ids": np.zeros(300)}, "whole numbers of shape (300,), got float64"),
        ({"query_person_ids": np.full(300, 2**63, np.uint64)}, "numbers below 2**63"),
        ({"query_camera_ids": np.full(300, 1)}, "a query of camera 1: infrared cameras are 3"),
        ({"gallery_person_ids": np.full(820, 334)}, "no person 334 of camera"),
        ({"gallery_camera_ids": np.full(820, 3)}, "300 queries and 0 gallery images"),
        ({"query_person_ids": np.array([["x"]] * 300, dtype=object)}, "holds Python objects"),
    ],
)
def test_arrays_that_do_not_fit_are_one_line(
    changed: dict[str, NDArray[np.generic] | None],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    contents = {name: array for name, array in (arrays() | changed).items() if array is not None}
    path = saved(tmp_path, contents)
    assert message in refusal(capsys, *sysu(path), "--permutations", PERMUTATIONS)


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_number_that_is_not_finite_is_named_by_its_row(
    value: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = arrays()
    gallery = contents["gallery_embeddings"].astype(np.float64)
    gallery[17, 3] = value
    path = saved(tmp_path, contents | {"gallery_embeddings": gallery})
    assert "gallery embeddings: row 17 is not finite" in refusal(capsys, *sysu(path))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--direction", "thermal-to-visible"],
            "--direction is an option of regdb, not of sysu-mm01",
        ),
        (["--measure", "cosine"], "--measure is an option of regdb"),
        (["--permutations", "{tmp}/absent.mat"], "absent.mat: expected the permutations"),
        (["--json", "{tmp}/absent/figures.json"], "figures.json: cannot be written"),
        (["--json", "{tmp}"], "cannot be written"),
    ],
)
def test_options_that_do_not_fit_are_one_line(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [argument.format(tmp=tmp_path) for argument in arguments]
    assert message in refusal(capsys, *sysu(), *filled)


def test_regdb_without_a_direction_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--protocol", "regdb", "--embeddings", REGDB]
    assert "--direction is missing: thermal-to-visible or" in refusal(capsys, *arguments)


def test_a_file_of_another_kind_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "embeddings.npy"
    np.save(path, np.zeros(3))
    assert "expected an .npz file" in refusal(capsys, *sysu(path))
    assert "expected an .npz file" in refusal(capsys, *sysu(tmp_path / "absent.npz"))
    assert "expected an .npz file" in refusal(capsys, *sysu(tmp_path))


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_a_file_that_is_cut_off_is_one_line(
    place: float, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "embeddings.npz"
    whole = SYSU.read_bytes()
    path.write_bytes(whole[: int(place * len(whole))])
    assert "embeddings.npz" in refusal(capsys, *sysu(path))


def test_an_array_whose_bytes_were_flipped_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "embeddings.npz"
    whole = bytearray(SYSU.read_bytes())
    whole[5000] ^= 0xFF
    path.write_bytes(whole)
    assert "cannot be read" in refusal(capsys, *sysu(path))


def test_an_array_that_unpacks_without_end_is_refused_unread(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "embeddings.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("query_embeddings.npy", bytes(65 * 2**20))
    assert path.stat().st_size < 100_000
    assert "query_embeddings unpacks to 68157440 bytes" in refusal(capsys, *sysu(path))


def test_a_header_that_promises_more_than_is_there_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "embeddings.npz"
    whole = tmp_path / "whole.npy"
    np.save(whole, np.zeros((2, 2), dtype=np.float32))
    data = whole.read_bytes().replace(b"(2, 2)", b"(2, 9)")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("query_embeddings.npy", data)
    assert "its header says float32 (2, 9)" in refusal(capsys, *sysu(path))


def test_a_refused_run_leaves_earlier_figures_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "figures.json"
    out.write_text("earlier")
    refusal(capsys, *sysu(tmp_path / "absent.npz"), "--json", out)
    assert out.read_text() == "earlier"
