"""A whole evaluation with several source frames and FID, and its page."""

import numpy as np
import pytest

from benchmarks.environment import describe
from benchmarks.evaluation import run
from benchmarks.evaluation.clips import EvaluationError
from benchmarks.evaluation.report import write_page
from benchmarks.evaluation.run import EvaluationConfig, evaluate

pytest.importorskip("skimage", reason="SSIM is part of the optional extra 'bench'")


@pytest.fixture
def channel_means(tmp_path):
    """A feature network: the mean of each channel."""
    torch = pytest.importorskip("torch", reason="feature networks are TorchScript")

    class Means(torch.nn.Module):
        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return pictures.mean(dim=[2, 3])

    path = tmp_path / "means.pt"
    torch.jit.script(Means()).save(str(path))
    return path


@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")
def test_numbers_of_sources_and_fid_reach_the_page(pack, nearest, channel_means, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="the plots are part of the optional extra 'bench'")
    monkeypatch.setattr(run, "load_contenders", lambda *_: [nearest])  # it has no entry point
    config = EvaluationConfig(
        pack, ("nearest",), "numpy", step=3, sources=(1, 2), clips=("a_01", "a_02"), fid_network=channel_means
    )
    progress = []
    figures = evaluate(config, tmp_path / "sheets", lambda *done: progress.append(done))
    assert progress[0] == ("same identity", 0, 14)
    assert progress[-1] == ("same identity", 14, 14)

    few = figures["few_shot"]
    assert few["mean"]["nearest"]["2"]["akd"] < few["mean"]["nearest"]["1"]["akd"]
    assert few["better_on"]["nearest"]["2 sources than with 1"]["akd"].endswith("of 2")
    assert list(few["clips"]) == ["a_01", "a_02"]
    assert "second half" in few["note"]

    means = figures["same_identity"]["mean"]
    assert means["nearest"]["fid"] == means["still"]["fid"] > 0  # with one source it shows nothing else
    turned = figures["same_identity"]["by_turn"]["still"]
    assert sum(found["frames"] for found in turned) == 14
    assert np.all([found["l1"] > 0 for found in turned])

    page = write_page(tmp_path, describe("visavis evaluate"), figures).read_text()
    assert "<th>nearest, 2</th>" in page
    assert (tmp_path / "plots" / "few_shot.png").is_file()
    assert "Fréchet" in page


@pytest.mark.parametrize(
    ("changes", "says"),
    [({"generators": ()}, "no generator"), ({"step": 0}, "step 0"), ({"sources": ()}, "numbers of source frames")],
)
def test_settings_without_sense_are_refused(pack, changes, says):
    with pytest.raises(EvaluationError, match=says):
        EvaluationConfig(**{"data": pack, "generators": ("mesh",), "runtime": "numpy", **changes})
