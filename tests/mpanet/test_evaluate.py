"""`mpanet evaluate` with the bundled model on a handful of rendered people in each layout."""

import json
from pathlib import Path
from typing import Any

import pytest

import mpanet
from mpanet.cli import main
from mpanet.commands.evaluate import ONE_MODEL, RENDERED
from mpanet.commands.export import read_metrics
from tests.training.report.pages import read_page, section
from training.synthetic.write import synthesize

BUNDLED = Path(mpanet.__file__).parent / "demo_model"


def rendered(folder: Path, layout: str, persons: int, test_persons: int) -> Path:
    """People with two crops by each camera of the layout."""
    synthesize(
        folder, layout=layout, persons=persons, seed=5, images_per_camera=2,
        test_persons=test_persons, workers=1,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def sysu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three people, all of them for the test."""
    return rendered(tmp_path_factory.mktemp("sysu") / "people", "sysu-mm01", 3, 3)


@pytest.fixture(scope="module")
def regdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people, two of them in the test half of each split."""
    return rendered(tmp_path_factory.mktemp("regdb") / "people", "regdb", 4, 2)


@pytest.fixture(scope="module")
def own_cameras(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four people with a manifest: two to train on, two to test."""
    return rendered(tmp_path_factory.mktemp("manifest") / "people", "manifest", 4, 2)


def evaluated(dataset: str, data: Path, tmp_path: Path, *options: str) -> dict[str, Any]:
    """What the command wrote to `--json`."""
    report = tmp_path / "figures.json"
    common = ["--model", str(BUNDLED), "--provider", "cpu", "--json", str(report)]
    code = main(["evaluate", "--dataset", dataset, "--data", str(data), *common, *options])
    assert code == 0
    found: dict[str, Any] = json.loads(report.read_text())
    return found


def test_json_keeps_what_decides_whether_figures_compare(sysu: Path, tmp_path: Path) -> None:
    report = evaluated("sysu-mm01", sysu, tmp_path, "--trials", "3", "--baselines")
    manifest = json.loads((BUNDLED / "manifest.json").read_text())
    assert report["model_id"] == manifest["model_id"]
    assert (report["dataset"], report["provider"], report["precision"]) == (
        "sysu-mm01", "cpu", "fp32",
    )  # fmt: skip
    row = report["results"][0]
    assert row["method"] == "model"
    assert row["protocol"] == "SYSU-MM01 all search, 1-shot"
    assert (row["sampling"], row["measure"], row["variant"]) == (
        "seeded choice", "cosine", "plain",
    )  # fmt: skip
    assert row["queries"] == 3 * 2 * 2
    assert len(row["trials"]) == 3
    mean = sum(trial["rank1"] for trial in row["trials"]) / 3
    assert row["rank1"] == pytest.approx(mean)
    assert row["cmc"][0] == pytest.approx(row["rank1"])
    assert row["rank1"] <= row["rank5"] == 100  # three persons: found by rank 3
    assert set(row["std"]) == {"mAP", "rank1", "rank5", "rank10", "rank20", "mINP"}
    assert [row["method"] for row in report["results"]] == [
        "model", "chance", "raw pixels", "grey histograms",
    ]  # fmt: skip
    assert report["apart"] == []


def test_re_ranked_and_affinity_rows_stand_apart_and_never_reach_a_manifest(
    sysu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluated("sysu-mm01", sysu, tmp_path, "--rerank", "--affinity", "--trials", "1")
    assert [row["variant"] for row in report["results"]] == ["plain"]
    assert [row["variant"] for row in report["apart"]] == [
        "re-ranked (k1 20, k2 6, lambda 0.3, neighbours from queries only)",
        "affinity (k1 30, k2 6)",
    ]
    assert len(read_metrics(tmp_path / "figures.json").figures) == 1
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("SYSU")]
    assert [title.split(", ", 2)[2].split(" ")[0] for title in titles] == [
        "plain", "re-ranked", "affinity",
    ]  # fmt: skip


def test_full_is_every_search_with_every_number_of_shots(sysu: Path, tmp_path: Path) -> None:
    report = evaluated("sysu-mm01", sysu, tmp_path, "--full", "--trials", "1")
    assert [row["protocol"] for row in report["results"]] == [
        f"SYSU-MM01 {search} search, {shots}-shot"
        for search in ("all", "indoor")
        for shots in (1, 10)
    ]


def test_figures_of_rendered_people_stand_beside_no_published_ones(
    sysu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluated("sysu-mm01", sysu, tmp_path, "--trials", "1")
    printed = capsys.readouterr().out
    assert RENDERED in printed
    assert "CVPR" not in printed
    assert report["notes"] == [RENDERED]


def test_other_people_stand_beside_the_published_figures(
    sysu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real = tmp_path / "real"
    real.mkdir()
    for part in (*(f"cam{camera}" for camera in range(1, 7)), "exp"):
        (real / part).symlink_to(sysu / part)
    report = evaluated("sysu-mm01", real, tmp_path, "--trials", "1", "--search", "indoor")
    printed = capsys.readouterr().out
    assert report["notes"] == []
    assert "MPANet, paper, CVPR 2021" in printed
    assert "76.74" in printed
    assert "another test split: 3,803 queries" in printed


def test_regdb_names_its_split(regdb: Path, tmp_path: Path) -> None:
    report = evaluated("regdb", regdb, tmp_path, "--split", "3")
    assert [(row["protocol"], row["queries"]) for row in report["results"]] == [
        ("RegDB thermal-to-visible, split 3", 4),
        ("RegDB visible-to-thermal, split 3", 4),
    ]


def test_all_splits_of_regdb_are_averaged_with_a_warning(
    regdb: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = evaluated("regdb", regdb, tmp_path, "--split", "all")
    singles = [evaluated("regdb", regdb, tmp_path, "--split", str(n)) for n in range(1, 11)]
    assert ONE_MODEL in report["notes"]
    assert ONE_MODEL in capsys.readouterr().out
    for direction, row in enumerate(report["results"]):
        assert row["protocol"].endswith("mean of 10 splits")
        of_splits = [single["results"][direction]["mAP"] for single in singles]
        assert [trial["mAP"] for trial in row["trials"]] == pytest.approx(of_splits)
        assert row["mAP"] == pytest.approx(sum(of_splits) / 10)


def test_own_cameras_are_ranked_in_both_directions(own_cameras: Path, tmp_path: Path) -> None:
    report = evaluated("manifest", own_cameras, tmp_path)
    assert [(row["protocol"], row["queries"]) for row in report["results"]] == [
        ("cross-modality infrared-to-visible", 2 * 2 * 2),
        ("cross-modality visible-to-infrared", 2 * 4 * 2),
    ]


def test_dimensions_show_what_shorter_embeddings_cost(
    own_cameras: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.html"
    report = evaluated(
        "manifest", own_cameras, tmp_path, "--dimensions", "2,9999", "--report", str(file)
    )
    study = report["dimensions"]
    assert [(row["protocol"].split(" ")[1], row["dimension"]) for row in study["rows"]] == [
        ("infrared-to-visible", 2),
        ("infrared-to-visible", 3584),
        ("visible-to-infrared", 2),
        ("visible-to-infrared", 3584),
    ]
    assert study["rows"][1]["mAP"] == pytest.approx(report["results"][0]["mAP"])
    assert "left out: 9,999 dimensions" in capsys.readouterr().out
    tables = section(read_page(file.read_text(encoding="utf-8")), "dimensions").all("table")
    shown = [
        [cell.text for cell in row.all("td")][2] for row in tables[1].all("tbody")[0].all("tr")
    ]
    assert shown == [f"{row['rank1']:.2f}" for row in study["rows"][2:]]


def test_dimensions_need_people_to_fit_on(
    sysu: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--model", str(BUNDLED), "--dataset", "sysu-mm01", "--data", str(sysu)]
    assert main(["evaluate", *arguments, "--dimensions"]) == 2
    captured = capsys.readouterr()
    assert "the train split is empty" in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("lengths", ["0", "64,", "a", "-1", "1.5"])
def test_dimensions_are_whole_numbers(lengths: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--model", "m", "--dataset", "regdb", "--data", "d", f"--dimensions={lengths}"]
    with pytest.raises(SystemExit):
        main(["evaluate", *arguments])
    assert f"expected lengths such as 64,128, got '{lengths}'" in capsys.readouterr().err


def test_llcm_is_ranked_in_both_directions_over_drawn_galleries(tmp_path: Path) -> None:
    data = rendered(tmp_path / "people", "llcm", 4, 2)
    report = evaluated("llcm", data, tmp_path, "--trials", "3")
    assert [row["protocol"] for row in report["results"]] == [
        "LLCM infrared-to-visible",
        "LLCM visible-to-infrared",
    ]
    assert all(len(row["trials"]) == 3 for row in report["results"])


def test_the_report_says_what_was_printed(sysu: Path, tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    report = evaluated("sysu-mm01", sysu, tmp_path, "--report", str(file), "--rerank")
    text = file.read_text(encoding="utf-8")
    page = read_page(text)
    assert report["model_id"] in page.all("header")[0].text
    assert RENDERED in page.all("header")[0].text
    tables = section(page, "figures").all("table")
    for table, row in zip(tables, [*report["results"], *report["apart"]], strict=True):
        first = table.all("td")[0].text
        assert first == f"{row['rank1']:.2f} ±{row['std']['rank1']:.2f}"
    scores = section(page, "scores").text
    assert "genuine: 96 pairs" in scores  # three people, 8 visible x 4 infrared crops each
    assert "impostor: 192 pairs" in scores
    assert len(section(page, "ranked").all("div", "strip")) == 12
    shares = section(page, "patterns").all("div", "strip")
    assert len(shares) == 4
    assert all(len(strip.all("figure")) == 1 + 6 for strip in shares)
    pictures = [len(image.attributes["src"]) for image in page.all("img")]
    most = 20 * (1 + 10) + 4 * 2 * (1 + 6)  # what many people fill: lists, and pattern maps
    assert sum(pictures) / len(pictures) * most + 100_000 < 3_000_000


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        ("regdb", ["--search", "all"], "--search is an option of sysu-mm01, not of regdb"),
        ("sysu-mm01", ["--split", "2"], "--split is an option of regdb, not of sysu-mm01"),
        ("manifest", ["--trials", "2"], "--trials is an option of sysu-mm01 and llcm"),
        ("sysu-mm01", ["--full", "--shots", "1"], "--full is every search and number of shots"),
        ("sysu-mm01", ["--sampling", "published"], "rand_perm_cam.mat: no such file"),
        ("sysu-mm01", ["--report", "{tmp}/absent/report.html"], "absent/report.html: cannot be"),
        ("sysu-mm01", ["--json", "{tmp}"], "cannot be written: expected a file"),
    ],
)
def test_unusable_options_are_one_line_before_anything_is_embedded(
    dataset: str,
    options: list[str],
    message: str,
    sysu: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [option.format(tmp=tmp_path) for option in options]
    arguments = ["--model", str(BUNDLED), "--dataset", dataset, "--data", str(sysu)]
    assert main(["evaluate", *arguments, *filled]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


@pytest.mark.parametrize("split", ["0", "11", "x", "²"])
def test_a_split_is_1_to_10_or_all(split: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["evaluate", "--model", "m", "--dataset", "regdb", "--data", "d", "--split", split])
    assert f"expected 1 to 10 or all, got '{split}'" in capsys.readouterr().err
