"""Our rows beside published ones: only where they compare, and never among re-ranked figures."""

import pytest

from training.comparison import figure_blocks, text_table
from training.evaluation import EvaluationRow
from training.metrics import Figures
from training.published import PUBLISHED, published_for

ALL_SINGLE = "SYSU-MM01 all search, 1-shot"
RE_RANKED = "re-ranked (k1 20, k2 6, lambda 0.3, neighbours from queries only)"


def row(
    protocol: str = ALL_SINGLE,
    variant: str = "plain",
    sampling: str = "rand_perm_cam.mat",
    measure: str = "cosine",
    queries: int = 3803,
    method: str = "model",
    trials: int = 2,
) -> EvaluationRow:
    """Rank-1 of 60 and 64 in two trials: mean 62, sample deviation 2.83."""
    figures = tuple(Figures(50.0, 60.0 + 4 * n, 70.0, 80.0, 90.0, 30.0) for n in range(trials))
    return EvaluationRow(method, protocol, sampling, measure, variant, queries, figures)


def test_plain_figures_of_the_same_protocol_stand_below_ours() -> None:
    (block,) = figure_blocks([row()], with_published=True)
    ours, paper, again = block.lines
    assert ours.figures["rank1"] == 62.0
    assert ours.spread["rank1"] == pytest.approx(8**0.5)
    assert (paper.figures["rank1"], paper.figures["mAP"]) == (70.58, 68.24)
    assert (again.figures["rank1"], again.figures["mAP"]) == (68.78, 65.96)
    assert "rank5" not in paper.figures
    assert paper.detail == again.detail == "measured in the same way"
    assert [line.published for line in block.lines] == [False, True, True]


def test_a_single_trial_has_no_spread() -> None:
    (block,) = figure_blocks([row(trials=1)], with_published=False)
    assert block.lines[0].spread == {}
    assert "mean of" not in block.lines[0].detail


@pytest.mark.parametrize(
    ("ours", "said"),
    [
        (row(sampling="seeded choice"), "another sampling: gallery by rand_perm_cam.mat"),
        (row(queries=480), "another test split: 3,803 queries"),
        (
            row("RegDB thermal-to-visible, split 1", sampling="every image", queries=2060),
            "another measure: euclidean",
        ),
    ],
)
def test_what_was_measured_otherwise_is_said(ours: EvaluationRow, said: str) -> None:
    (block,) = figure_blocks([ours], with_published=True)
    assert all(said in line.detail for line in block.lines[1:])
    assert len(block.lines) == 3


def test_re_ranked_rows_come_last_and_without_published_figures() -> None:
    rows = [row(variant=RE_RANKED), row(), row(variant="affinity (k1 30, k2 6)"), row(method="x")]
    blocks = figure_blocks(rows, with_published=True)
    assert [block.variant for block in blocks] == ["plain", RE_RANKED, "affinity (k1 30, k2 6)"]
    assert [line.name for line in blocks[0].lines[:2]] == ["model", "x"]
    assert [len(block.lines) for block in blocks] == [4, 1, 1]


def test_published_figures_can_be_left_out() -> None:
    (block,) = figure_blocks([row()], with_published=False)
    assert not any(line.published for line in block.lines)


def test_one_shot_is_not_ten_shots_and_other_protocols_have_none() -> None:
    assert [entry.figures["rank1"] for entry in published_for("SYSU-MM01 all search, 10-shot")] == [
        74.68
    ]
    assert published_for("LLCM infrared-to-visible") == []
    assert published_for("cross-modality infrared-to-visible") == []


def test_both_directions_of_regdb_show_both_rows_of_the_paper_as_doubtful() -> None:
    for direction in ("thermal-to-visible", "visible-to-thermal"):
        found = published_for(f"RegDB {direction}, mean of 10 splits")
        assert [entry.figures["rank1"] for entry in found] == [82.8, 83.7]
        assert all("sources disagree" in entry.remark for entry in found)


def test_every_published_figure_is_a_percentage_with_a_source() -> None:
    for entry in PUBLISHED:
        assert entry.source
        assert {"rank1", "mAP"} <= set(entry.figures)
        assert all(50 < value <= 100 for value in entry.figures.values())


def test_the_text_names_protocol_variant_and_what_lines_share_once() -> None:
    seeded, other = row(sampling="seeded choice"), row(sampling="seeded choice", method="x")
    blocks = figure_blocks([seeded, other, row(variant=RE_RANKED)], with_published=False)
    plain, re_ranked = text_table(blocks).split("\n\n")
    title, heading, ours, shared, last = plain.splitlines()
    assert title == f"{ALL_SINGLE}, plain"
    assert heading.split() == ["rank1", "rank5", "rank10", "rank20", "mAP", "mINP"]
    assert ours.split()[:3] == ["model", "62.00", "±2.83"]
    assert shared == "  3,803 queries; gallery by seeded choice; cosine; mean of 2 trials"
    assert last.split()[0] == "x"
    assert re_ranked.startswith(f"{ALL_SINGLE}, {RE_RANKED}\n")


def test_figures_that_were_not_published_are_dashes() -> None:
    text = text_table(figure_blocks([row()], with_published=True))
    (paper,) = [line for line in text.splitlines() if line.startswith("MPANet, paper, CVPR 2021")]
    assert paper.split()[-6:] == ["70.58", "-", "96.21", "98.80", "68.24", "-"]
