"""Cross identity: pairs, and what is measured without a true frame."""

from pathlib import Path

import pytest

from benchmarks.evaluation.clips import ClipFile, EvaluationError, find_clips, read_clip
from benchmarks.evaluation.contenders import DELAUNAY, STILL, load_contenders
from benchmarks.evaluation.cross_identity import choose_pairs, measure_cross_identity
from benchmarks.evaluation.metrics import Metrics

pytest.importorskip("skimage", reason="SSIM is part of the optional extra 'bench'")


def files(*names: str) -> list[ClipFile]:
    return [ClipFile(name, name[0], Path(name), 10, 256) for name in names]


def test_pairs_are_the_same_every_time_and_of_two_people():
    pairs = choose_pairs(files("c1", "a2", "b1", "a1"), 5)
    names = [(source.name, driver.name) for source, driver in pairs]
    assert names == [("a1", "b1"), ("b1", "c1"), ("c1", "a1"), ("a1", "c1"), ("b1", "a1")]


@pytest.mark.parametrize(("names", "count"), [(("a1", "a2"), 1), (("a1", "b1"), 3)], ids=["one person", "too many"])
def test_impossible_numbers_of_pairs_are_refused(names, count):
    with pytest.raises(EvaluationError, match=r"pairs: \d people make \d"):
        choose_pairs(files(*names), count)


def test_mesh_shows_what_was_intended_and_the_still_source_does_not(pack, model):
    source, driver = (read_clip(file) for file in find_clips(pack, 256, ("a_02", "b_01")))
    metrics = Metrics(model)
    seen = 0

    def advance() -> None:
        nonlocal seen
        seen += 1

    contenders = load_contenders(["mesh"], "numpy", 256, (1,))
    figures = measure_cross_identity(source, driver, contenders, metrics, model, 4, advance=advance)
    metrics.close()
    assert seen == 6
    assert set(figures) == {"mesh", STILL, DELAUNAY}
    assert figures["mesh"]["akd"] < figures[STILL]["akd"]
    assert figures["mesh"]["expression"] < figures[STILL]["expression"]
    assert "l1" not in figures["mesh"]  # there is no true frame
    if metrics.embedder_name is not None:
        assert figures[STILL]["csim"] == pytest.approx(1.0)
        assert 0.9 < figures["mesh"]["csim"] < 1.0
