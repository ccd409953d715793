"""Rhythmic Head Motion's published files: the generator (`<epoch>_net_G.pth`) and the two learners of the voice.

Their code (lelechen63/Talking-head-Generation-with-Rhythmic-Head-Motion) may not be used commercially; the weights have
no licence of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from engine.nets.expression_learner import COEFFICIENTS, ExpressionConfig, ExpressionLearner
from engine.nets.head_motion_learner import CHUNKS, HeadMotionConfig, HeadMotionLearner
from engine.nets.rhythmic import RhythmicNetwork
from engine.nets.rhythmic_weights import config_of, normalised, save_network
from engine.nets.stored_weights import LayoutError, network_with
from engine.weights.importers.checkpoints import Checkpoint, load_tensors, named_errors, origin, state_dict

GENERATOR = "rhythmic"
"Which generator the weights are for."
LICENCE = (
    "published beside code that may not be used commercially "
    "(lelechen63/Talking-head-Generation-with-Rhythmic-Head-Motion), without a licence of their own"
)
PREFIX = "module."
"In the keys of a network that was saved as it was trained, on several devices."
PARTS = ("encode", "mid_net", "decode")
"Of the head motion learner's file."


def read_checkpoint(checkpoint: Checkpoint) -> RhythmicNetwork:
    """The generator of a published file, its weights divided by their spectra; float32, eval mode.

    Variant, widths and number of references follow from the shapes. Raises LayoutError, saying what does not fit, for a
    file of anything else, a damaged one and one that holds code.
    """
    with named_errors(checkpoint):
        state = state_dict(load_tensors(checkpoint), "generator", PREFIX)
        if not any(key.startswith("netG.") for key in state):
            found = ", ".join(sorted(state)[:3])
            raise LayoutError(f"no netG in it, but {found}: of the published files the one that ends in net_G.pth")
        config = config_of(state)
        return normalised(network_with(lambda: RhythmicNetwork(config), state))


def import_checkpoint(checkpoint: Path, weights: Path, half: bool = False) -> RhythmicNetwork:
    """Write what `read_checkpoint` reads as weights of ours, a .safetensors file; `half` stores float16.

    The file's metadata say where the weights are from.
    """
    network = read_checkpoint(checkpoint)
    save_imported(network, checkpoint, weights, half)
    return network


def save_imported(network: RhythmicNetwork, checkpoint: Path, weights: Path, half: bool = False) -> None:
    """Write a network that was read from a checkpoint as weights of ours. Raises OSError."""
    save_network(network, weights, origin(GENERATOR, [checkpoint], LICENCE), half)


def read_expression_learner(checkpoint: Checkpoint) -> ExpressionLearner:
    """The facial expression learner of its file; float32, eval mode. Raises LayoutError.

    Its 20 coefficients are of a basis that is in another file (`U_grid_front_3d.npy`, `mean_grid_front_3d.npy`).
    """
    with named_errors(checkpoint):
        state = state_dict(load_tensors(checkpoint), "expression learner", PREFIX)
        first, last = state.get("conv1.weight"), state.get("fc2.weight")
        if first is None or last is None or first.ndim != 3 or last.ndim != 2:
            raise LayoutError("not the expression learner: no conv1 and fc2 in it")
        if last.shape[0] != COEFFICIENTS or 64 % first.shape[0]:
            raise LayoutError(f"not the expression learner with {COEFFICIENTS} coefficients that was published")
        config = ExpressionConfig(divisor=64 // first.shape[0])
        return network_with(lambda: ExpressionLearner(config), state)


def read_head_motion_learner(checkpoint: Checkpoint) -> HeadMotionLearner:
    """The head motion learner of its file, a mapping of three parts; float32, eval mode. Raises LayoutError."""
    with named_errors(checkpoint):
        content = load_tensors(checkpoint)
        if not isinstance(content, Mapping) or not set(PARTS) <= content.keys():
            raise LayoutError(f"not the head motion learner: {', '.join(PARTS)} wanted")
        parts = {part: state_dict(content[part], part, PREFIX) for part in PARTS}
        flat, kernel = parts["mid_net"].get("audio_l.0.weight"), parts["mid_net"].get("conv.2.weight")
        if flat is None or kernel is None or flat.ndim != 3 or kernel.ndim != 4 or 16 % max(kernel.shape[0], 1):
            raise LayoutError("not the head motion learner: no conv and audio_l in its mid_net")
        samples = flat.shape[1] // (kernel.shape[0] * (CHUNKS - 4)) + 4
        config = HeadMotionConfig(samples=samples, divisor=16 // kernel.shape[0])
        state = {f"{part}.{key}": value for part, own in parts.items() for key, value in own.items()}
        return network_with(lambda: HeadMotionLearner(config), state)
