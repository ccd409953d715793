"""The operations of Rhythmic Head Motion's halves that are out of the ordinary, exported.

One of each, and not the halves: the exporter takes a minute for those, which `visavis export` compares as a whole.
"""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")
onnx = pytest.importorskip("onnx", reason="needs onnx (extra: export)")
pytest.importorskip("onnxruntime", reason="needs onnxruntime (extra: ort)")

from torch import nn  # noqa: E402

from engine.export import export_network  # noqa: E402
from engine.generators.neural import NetworkSpec, TensorSpec  # noqa: E402
from engine.nets.pictures import pixels, planes  # noqa: E402
from engine.nets.rhythmic import signed  # noqa: E402
from engine.nets.rhythmic_blocks import Modulation, PointConv, Predicted, UpBlock  # noqa: E402
from engine.nets.rhythmic_composition import Warped, matted, warped  # noqa: E402
from engine.nets.rhythmic_embedding import Attention, CombEncoder, HybridEncoder, References, spread  # noqa: E402

WIDTHS = (2, 4, 8, 16, 32, 64, 64)
SIDE, COUNT = 64, 2


class Sample(nn.Module):
    """Attention over references, predicted convolutions, an up block with its conditions apart, a warp, the matting."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = Attention(WIDTHS, False)
        self.encoder = HybridEncoder(WIDTHS, COUNT, False)
        self.comb = CombEncoder(WIDTHS, False, False)
        self.linear = nn.Linear(WIDTHS[1], 2 * WIDTHS[0] + 2)
        self.block = UpBlock(WIDTHS[1], WIDTHS[0], [WIDTHS[0]] * 2, True, True, False)
        self.flow = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, edges, picture, keys, pictures, labels, own_pictures, own_labels):
        by_slot = self.encoder.own_by_slot(pictures[:, 0], labels[:, 0])
        own = [one + more.sum(dim=1) for one, more in zip((own_pictures, own_labels), by_slot, strict=True)]
        references = References(keys, pictures, labels, *own)
        weights = self.attention(planes(edges), references.keys)
        x, label = self.encoder(*self.encoder.joined(weights, references))
        matrix = self.comb(x, label)[0]
        rows = self.linear(matrix).flatten(1)
        wide, narrow = WIDTHS[1], WIDTHS[0]
        wider = PointConv(rows[:, : wide * narrow].unflatten(1, (wide, narrow)), rows[:, -wide:])
        narrower = PointConv(rows[:, : narrow * narrow].unflatten(1, (narrow, narrow)), rows[:, -narrow:])
        seen = signed(picture)
        condition = spread(narrower, seen[:, :2, ::2, ::2])
        predicted = Predicted(*(Modulation(one, one) for one in (wider, narrower, wider)))
        drawn = self.block(torch.cat((seen, planes(edges)), dim=1), (condition, seen[:, 1:]), predicted)
        flow = 20 * torch.tanh(self.flow(drawn))
        one = Warped(warped(seen, flow), torch.sigmoid(drawn[:, :1]), flow)
        return pixels(0.5 + 0.5 * matted(torch.tanh(drawn.mean(dim=1, keepdim=True)), one, one))


@pytest.mark.slow
def test_operators_are_known_to_the_runtimes(random_network, tmp_path):
    """ONNX Runtime and OpenVINO compute what torch does, for any batch, without a loop or a shape that is computed."""
    module = random_network(Sample, 0)
    features = WIDTHS[2], SIDE // 4, SIDE // 4
    names = ("keys", "pictures", "labels")
    spec = NetworkSpec(
        (
            TensorSpec("edges", (SIDE, SIDE, 1), np.uint8),
            TensorSpec("picture", (SIDE, SIDE, 3), np.uint8),
            *(TensorSpec(name, (COUNT, *features), np.float32) for name in names),
            *(TensorSpec(name, features, np.float32) for name in ("own_pictures", "own_labels")),
        ),
        (TensorSpec("frame", (SIDE, SIDE, 3), np.uint8),),
    )
    rng = np.random.default_rng(0)
    examples = [
        {
            entry.name: rng.integers(0, 256, (batch, *entry.shape), np.uint8)
            if entry.dtype == np.uint8
            else rng.standard_normal((batch, *entry.shape), np.float32)
            for entry in spec.inputs
        }
        for batch in (1, 3)
    ]
    exported = export_network(module, spec, examples, tmp_path / "sample.onnx")
    assert "onnxruntime" in exported.deviations
    graph = onnx.load(tmp_path / "sample.onnx").graph
    kinds = {node.op_type for node in graph.node}
    assert not kinds & {"Loop", "If", "Scan", "NonZero", "TopK", "ArgMax", "Einsum", "ScatterND", "Unique"}
    assert [node.op_type for node in graph.node].count("GridSample") == 1
