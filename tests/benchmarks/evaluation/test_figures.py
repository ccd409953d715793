"""Means and counts."""

import pytest

from benchmarks.evaluation.figures import DEFINITIONS, better_on, mean_over_clips, summarise


def test_figures_of_a_clip():
    rows = [
        {"l1": 0.1, "akd": 1.0, "pose_square": 9.0, "lost": 0.0, "render_ms": 5.0, "turn": 3.0},
        {"l1": 0.3, "lost": 1.0, "render_ms": 50.0, "turn": 4.0},
        {"l1": 0.2, "akd": 3.0, "pose_square": 25.0, "lost": 0.0, "render_ms": 6.0, "turn": 5.0},
    ]
    assert summarise(rows) == {
        "l1": pytest.approx(0.2),
        "akd": 2.0,
        "akd_p95": pytest.approx(2.9),
        "prmse": pytest.approx(17.0**0.5),
        "faces_lost": 1.0,
        "render_ms": 6.0,
        "render_ms_p95": pytest.approx(45.6),
    }


def test_infinite_values_have_no_mean():
    assert summarise([{"psnr": float("inf")}, {"psnr": 30.0}])["psnr"] is None


def test_every_clip_counts_the_same_where_it_has_the_figure():
    means = mean_over_clips([{"l1": 0.1, "csim": None}, {"l1": 0.3, "csim": 0.9}, {"l1": 0.2}])
    assert means == {"l1": pytest.approx(0.2), "csim": 0.9}


def test_counting_knows_which_way_is_better():
    one, other = {"l1": 0.1, "ssim": 0.9, "akd": 2.0}, {"l1": 0.2, "ssim": 0.8, "akd": 2.0}
    assert better_on([(one, other), (other, one), (one, {"l1": 0.5})]) == {
        "l1": "2 of 3",
        "ssim": "1 of 2",
        "akd": "0 of 2",  # equal is not better
    }


def test_every_definition_says_something():
    assert all(definition.meaning.endswith(".") and definition.title for definition in DEFINITIONS.values())
