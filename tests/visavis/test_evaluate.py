"""`visavis evaluate`: what is written, and what is said when it cannot be."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import av
import numpy as np
import pytest
import tyro

from visavis.__main__ import main
from visavis.commands import COMMANDS, Evaluate
from visavis.demo import DRIVING

FRAMES = 10


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data pack of two short test clips, the second the first one mirrored."""
    root = tmp_path_factory.mktemp("pack")
    (root / "clips" / "256").mkdir(parents=True)
    with av.open(str(DRIVING)) as file:
        pictures = [picture.to_ndarray(format="rgb24") for picture in file.decode(video=0)][40 : 40 + FRAMES]
    with open(root / "manifest.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(("id", "split", "identity", "frames"))
        for name in ("a_01", "b_01"):
            rows.writerow((name, "test", name[0], FRAMES))
            with av.open(str(root / "clips" / "256" / f"{name}.mp4"), "w") as video:
                stream = video.add_stream("libx264", rate=25)
                stream.width = stream.height = 256
                stream.pix_fmt = "yuv420p"
                for picture in pictures:
                    shown = np.ascontiguousarray(picture[:, ::-1]) if name == "b_01" else picture
                    video.mux(stream.encode(av.VideoFrame.from_ndarray(shown, format="rgb24")))
                video.mux(stream.encode())
    return root


@pytest.fixture(scope="module")
def written(pack: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("skimage", reason="SSIM is part of the optional extra 'bench'")
    pytest.importorskip("matplotlib", reason="the plots are part of the optional extra 'bench'")
    folder = tmp_path_factory.mktemp("evaluation") / "new"
    arguments = ["evaluate", "--data", str(pack), "--generator", "mesh", "--step", "3", "--cross", "--pairs", "1"]
    assert main([*arguments, "-o", str(folder)]) == 0
    return folder


def test_figures_say_where_they_come_from(written: Path) -> None:
    result = json.loads((written / "evaluation.json").read_text())
    assert result["environment"]["cores"] > 0
    figures = result["figures"]
    assert figures["generators"] == ["mesh"]
    assert list(figures["same_identity"]["clips"]) == ["a_01", "b_01"]
    assert figures["same_identity"]["clips"]["a_01"]["frames"] == 3
    ways = [clip["ways"]["mesh"]["l1"] for clip in figures["same_identity"]["clips"].values()]
    assert figures["same_identity"]["mean"]["mesh"]["l1"] == pytest.approx(np.mean(ways))
    assert re.fullmatch(r"\d of 2", figures["same_identity"]["better_on"]["mesh"]["still"]["akd"])
    assert list(figures["cross_identity"]["pairs"]) == ["a_01 by b_01"]
    assert {"lpips", "fid"} <= set(figures["not_measured"])
    assert set(figures["same_identity"]["mean"]["mesh"]) <= set(figures["definitions"])


def test_page_shows_all_its_pictures_from_its_own_folder(written: Path) -> None:
    page = (written / "index.html").read_text()
    shown = re.findall(r"src='([^']+)'", page)
    assert {"plots/means.png", "plots/cross.png", "sheets/a_01.jpg", "sheets/a_01_by_b_01.jpg"} <= set(shown)
    assert all((written / name).stat().st_size > 1000 for name in shown)
    assert "LPIPS needs the weights" in page


@pytest.mark.parametrize("names", [[], ["portrait"], ["portrait", "mesh"]], ids=["none", "one", "two"])
def test_only_the_named_generators_are_evaluated(names: list[str]) -> None:
    given = [argument for name in names for argument in ("--generator", name)]
    command = tyro.extras.subcommand_cli_from_dict(COMMANDS, args=["evaluate", "--data", "pack", *given])
    assert isinstance(command, Evaluate)
    assert command.generator == tuple(names)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--data", "nowhere"], "nowhere: no data pack"),
        (["--clips", "x_01"], "x_01: no test clip"),
        (["--generator", "nonesuch"], "no generator is called 'nonesuch'"),
        (["--generator", "mesh", "--sources", "1", "2"], "mesh: takes one source frame only"),
        (["--sources", "0"], "at least 1"),
        (["--step", "50"], "a_01: 10 frames are too few"),
        (["--cross", "--pairs", "7"], "2 people make 2"),
        (["--lpips-weights", "none.pth"], "none.pth: no such file; LPIPS needs"),
        (["--fid-network", "none.pt"], "none.pt: no such file; FID needs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_cannot_be_evaluated_is_said_before_the_work(
    pack: Path, tmp_path: Path, arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib", reason="the plots are part of the optional extra 'bench'")
    folder = tmp_path / "evaluation"
    given = arguments if "--data" in arguments else ["--data", str(pack), *arguments]
    assert main(["evaluate", *given, "-o", str(folder)]) == 1
    assert says in capsys.readouterr().err
    assert not folder.exists()
