"""Buffers that stay: what is asked for comes out, whatever was in them before and however many ask."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs torch (extra: torch)")

from engine.generators.neural import NetworkSpec, TensorSpec  # noqa: E402
from engine.runtime.resident import ResidentArrays  # noqa: E402
from engine.runtime.static_network import StaticConfig, StaticNetwork, empty_maps, padded  # noqa: E402

SPEC = NetworkSpec(
    (
        TensorSpec("picture", (4, 4, 3), np.uint8),
        TensorSpec("features", ("sources", 2, 4, 4), np.float32),
        TensorSpec("gain", (1,), np.float32),
    ),
    (TensorSpec("lit", (4, 4, 3), np.uint8), TensorSpec("sums", (2,), np.float32)),
)


class Lit(torch.nn.Module):
    """Every row of the outputs depends on that row alone."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []
        self.layouts: list[tuple[int, ...]] = []

    def forward(self, picture: Any, features: Any, gain: Any) -> tuple[Any, ...]:
        self.batches.append(len(picture))
        self.layouts.append(features.stride())
        lit = (picture * gain[:, :, None, None]).clamp(0, 255).to(torch.uint8)
        return lit, features.float().sum(dim=(1, 3, 4)) * gain


def inputs(rows: int, seed: int = 0, sources: int = 1) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    return {
        "picture": draw.integers(0, 100, (rows, 4, 4, 3), np.uint8),
        "features": draw.integers(0, 8, (rows, sources, 2, 4, 4)).astype(np.float32),
        "gain": draw.uniform(1, 2, (rows, 1)).astype(np.float32),
    }


def expected(given: dict[str, np.ndarray]) -> list[np.ndarray]:
    lit = (given["picture"] * given["gain"][:, :, None, None]).astype(np.uint8)
    return [lit, given["features"].sum(axis=(1, 3, 4)) * given["gain"]]


def check(outputs: dict[str, np.ndarray], given: dict[str, np.ndarray]) -> None:
    lit, sums = expected(given)
    np.testing.assert_array_equal(outputs["lit"], lit)
    np.testing.assert_allclose(outputs["sums"], sums, rtol=1e-6)


class Recorded:
    """A capture as CUDA graphs behave: the outputs are always the same tensors, overwritten by every replay."""

    def __init__(self) -> None:
        self.entered = 0
        self.captured = 0

    def __call__(self, work: Any) -> Any:
        self.captured += 1
        outputs = tuple(output.clone() for output in work())

        def replay() -> tuple[Any, ...]:
            for output, new in zip(outputs, work(), strict=True):
                output.copy_(new)
            return outputs

        return replay

    def stream(self) -> Any:
        self.entered += 1
        return torch.inference_mode()


@pytest.mark.parametrize("recorded", [False, True], ids=["eager", "recorded"])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 11])
def test_any_number_of_rows_through_few_batch_sizes(rows: int, recorded: bool) -> None:
    module = Lit()
    capture = Recorded() if recorded else None
    network = StaticNetwork(module, SPEC, config=StaticConfig(batches=(1, 2, 4)), capture=capture)
    for seed in range(3):
        given = inputs(rows, seed)
        [outputs] = network.run([given])
        check(outputs, given)
    assert set(module.batches) <= {1, 2, 4}
    if capture is not None:
        assert capture.captured == len(set(module.batches))
        assert capture.entered >= 3


def test_several_requests_together_get_their_own_rows_each() -> None:
    module = Lit()
    network = StaticNetwork(module, SPEC, config=StaticConfig(batches=(1, 8)))
    requests = [inputs(rows, seed) for seed, rows in enumerate((1, 3, 2))]
    for outputs, given in zip(network.run(requests), requests, strict=True):
        check(outputs, given)
        assert all(array.base is None for array in outputs.values())  # nobody keeps the others' rows alive
    assert set(module.batches) == {8}


def test_outputs_are_the_callers_to_keep() -> None:
    network = StaticNetwork(Lit(), SPEC, capture=Recorded())
    first, second = inputs(1, 0), inputs(1, 1)
    [kept] = network.run([first])
    network.run([second])
    check(kept, first)
    kept["lit"][:] = 0
    check(network.run([second])[0], second)


def test_axes_with_a_name_have_buffers_of_their_own() -> None:
    network = StaticNetwork(Lit(), SPEC)
    for sources in (1, 3, 1, 2):
        given = inputs(2, sources, sources)
        check(network.run([given])[0], given)


def test_fewer_sets_of_buffers_are_kept_than_there_are_shapes() -> None:
    capture = Recorded()
    network = StaticNetwork(Lit(), SPEC, capture=capture, config=StaticConfig(batches=(1, 2, 4), shapes_kept=2))
    for rows in (1, 2, 1, 4, 1, 2):  # 4 drives out 2, the one that was used longest ago; then 2 drives out 4
        given = inputs(rows)
        check(network.run([given])[0], given)
    assert capture.captured == 4


def test_resident_arrays_are_copied_once_and_forgotten_with_the_array() -> None:
    resident = ResidentArrays()
    module = Lit()
    network = StaticNetwork(module, SPEC, resident=resident, types={"features": torch.float16})
    given, other = inputs(1, 0), inputs(1, 1)
    resident.adopt([given["features"], other["features"]])
    truth = {key: value.copy() for key, value in given.items()}
    check(network.run([given])[0], truth)
    given["features"][:] = 7  # not seen: against the rule, and the proof that it is not read again
    check(network.run([given])[0], truth)
    check(network.run([other])[0], other)  # in the same slot
    check(network.run([given])[0], truth)  # and back
    mixed = inputs(1, 5)
    for outputs, wanted in zip(network.run([other, mixed, given]), (other, mixed, truth), strict=True):
        check(outputs, wanted)
    assert len(resident) == 2
    del other["features"]
    gc.collect()
    assert len(resident) == 1
    check(network.run([mixed])[0], mixed)


def test_what_a_network_made_is_kept_as_it_made_it() -> None:
    module = Lit()
    network = StaticNetwork(module, SPEC, types={"features": torch.bfloat16})
    given = inputs(2)
    check(network.run([given])[0], given)  # small whole numbers: bfloat16 has them
    assert module.layouts[-1] == (32, 32, 1, 8, 2)  # channels together
    assert network.output_types() == {"lit": torch.uint8, "sums": torch.float32}


def test_work_that_cannot_be_recorded_runs_step_by_step(caplog: pytest.LogCaptureFixture) -> None:
    class Refusing(Recorded):
        def __call__(self, work: Any) -> Any:
            self.captured += 1
            raise RuntimeError("operation not permitted when stream is capturing\nmore")

    capture = Refusing()
    network = StaticNetwork(Lit(), SPEC, capture=capture)
    for rows in (1, 2, 3):
        given = inputs(rows)
        check(network.run([given])[0], given)
    assert capture.captured == 1  # asked once
    assert capture.entered >= 3  # the stream is the same
    assert [record.message for record in caplog.records] == [
        "a network cannot be recorded (operation not permitted when stream is capturing): it runs step by step, slower"
    ]


def test_errors_of_the_network_itself_are_not_hidden() -> None:
    class Failing(torch.nn.Module):
        def forward(self, *_: Any) -> Any:
            raise RuntimeError("no such map")

    with pytest.raises(RuntimeError, match="no such map"):
        StaticNetwork(Failing(), SPEC, capture=Recorded()).run([inputs(1)])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gain": np.ones((1, 1))}, r"input gain: expected float32 \['batch', 1\].* got float64 \[1, 1\]"),
        ({"gain": np.ones((2, 1), np.float32)}, r"input gain: .* got float32 \[2, 1\]"),
        ({"picture": np.ones((1, 4, 5, 3), np.uint8)}, "input picture"),
        ({"features": np.ones((1, 2, 4, 4), np.float32)}, "input features"),
        ({"features": np.ones((1, 0, 2, 4, 4), np.float32)}, "input features"),
    ],
)
def test_inputs_that_do_not_fit_are_named(change: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        StaticNetwork(Lit(), SPEC).run([inputs(1) | change])


def test_batch_sizes() -> None:
    assert [padded(rows, (1, 2, 4)) for rows in (1, 2, 3, 4)] == [1, 2, 4, 4]
    with pytest.raises(ValueError, match="5 rows: the largest batch has 4"):
        padded(5, (1, 2, 4))
    for wrong in ((), (2, 1), (0, 1), (1, 1)):
        with pytest.raises(ValueError, match="increasing"):
            StaticConfig(batches=wrong)
    with pytest.raises(ValueError, match="at least 1"):
        StaticConfig(shapes_kept=0)


def test_maps_with_their_channels_together() -> None:
    maps = empty_maps((2, 3, 8, 5, 7), dtype=torch.float32, device=torch.device("cpu"))
    assert maps.shape == (2, 3, 8, 5, 7)
    assert maps.flatten(0, 1).is_contiguous(memory_format=torch.channels_last)
