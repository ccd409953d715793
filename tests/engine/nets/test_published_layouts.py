"""Full-size networks have the keys and shapes of the published files, so that those can be loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from engine.nets.dagan import DaGANConfig, DaGANModel
from engine.nets.expression_learner import ExpressionLearner
from engine.nets.face_depth import FaceDepth, FaceDepthConfig
from engine.nets.first_order import FirstOrderModel
from engine.nets.head_motion_learner import HeadMotionLearner
from engine.nets.patch_discriminator import DiscriminatorConfig, KeypointDiscriminator
from engine.nets.rhythmic import RhythmicConfig, RhythmicNetwork

Layout = dict[str, tuple[int, ...]]

DIGESTS = {
    ("fomm_vox_adv_256", "generator"): (196, "a1e9ff62a9acf355"),
    ("fomm_vox_adv_256", "kp_detector"): (75, "86c09e882ea36ddb"),
    ("fomm_vox_adv_256", "discriminator"): (16, "5b0710a16cc57881"),
    ("dagan_vox_adv_256_kp15", "generator"): (224, "eff19d1c9046c65a"),
    ("dagan_vox_adv_256_kp15", "kp_detector"): (75, "89900583ae3f9861"),
    ("dagan_vox_adv_256_kp15", "discriminator"): (16, "1f2fc91e99afc802"),
    ("dagan_spade_vox_adv_256_kp15", "generator"): (248, "7fac7f4ca7a31143"),
    ("dagan_spade_vox_adv_256_kp15", "kp_detector"): (75, "89900583ae3f9861"),
    ("dagan_spade_vox_adv_256_kp15", "discriminator"): (16, "1f2fc91e99afc802"),
    ("dagan_depth_resnet18", "encoder.pth"): (120, "bb622ea7f5b089c9"),
    ("dagan_depth_resnet18", "depth.pth"): (28, "a50954b603a7b6f1"),
    ("dagan_depth_resnet50", "encoder.pth"): (318, "f9daa06315f9ed7b"),
    ("dagan_depth_resnet50", "depth.pth"): (28, "86785306810d219d"),
    ("rhythmic_net_G", "hybrid_use_new_nshot8"): (1124, "8401b4c28d0dc853"),
    ("rhythmic_net_G", "plain_two_encoders"): (1026, "4602d41da589ff6a"),
    ("rhythmic_audio_learners", "expression_psi_module_prefixed"): (55, "85b527e59aeac872"),
    ("rhythmic_audio_learners", "head_motion_phi"): (43, "4a008fc96cde3e5b"),
}
"Keys, and the digest of keys and shapes, of each part of the published files."

NETWORKS: dict[tuple[str, str], Callable[[], nn.Module]] = {
    ("fomm_vox_adv_256", "generator"): lambda: FirstOrderModel().generator,
    ("fomm_vox_adv_256", "kp_detector"): lambda: FirstOrderModel().kp_detector,
    ("fomm_vox_adv_256", "discriminator"): KeypointDiscriminator,
    ("dagan_vox_adv_256_kp15", "generator"): lambda: DaGANModel().generator,
    ("dagan_vox_adv_256_kp15", "kp_detector"): lambda: DaGANModel().kp_detector,
    ("dagan_vox_adv_256_kp15", "discriminator"): lambda: KeypointDiscriminator(DiscriminatorConfig(keypoints=15)),
    ("dagan_spade_vox_adv_256_kp15", "generator"): lambda: DaGANModel(DaGANConfig(decoder="spade")).generator,
    ("dagan_spade_vox_adv_256_kp15", "kp_detector"): lambda: DaGANModel(DaGANConfig(decoder="spade")).kp_detector,
    ("dagan_depth_resnet18", "encoder.pth"): lambda: FaceDepth().depth_encoder,
    ("dagan_depth_resnet18", "depth.pth"): lambda: FaceDepth().depth_decoder,
    ("dagan_depth_resnet50", "encoder.pth"): lambda: FaceDepth(FaceDepthConfig(50)).depth_encoder,
    ("dagan_depth_resnet50", "depth.pth"): lambda: FaceDepth(FaceDepthConfig(50)).depth_decoder,
    ("rhythmic_net_G", "hybrid_use_new_nshot8"): lambda: RhythmicNetwork(RhythmicConfig(spectral=True)),
    ("rhythmic_net_G", "plain_two_encoders"): lambda: RhythmicNetwork(RhythmicConfig(hybrid=False, spectral=True)),
    ("rhythmic_audio_learners", "expression_psi_module_prefixed"): lambda: nn.ModuleDict(
        {"module": ExpressionLearner()}
    ),
    ("rhythmic_audio_learners", "head_motion_phi"): HeadMotionLearner,
}

UNUSED = ("encoder.fc.",)
"Of a ResNet for ImageNet: its classifier."


def digest(layout: Layout) -> tuple[int, str]:
    """How many keys, and 16 hexadecimal digits that change with any key or shape."""
    lines = [f"{key} {'x'.join(map(str, shape))}" for key, shape in sorted(layout.items())]
    return len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def names(part: tuple[str, str]) -> str:
    return "-".join(part)


@pytest.mark.parametrize("part", NETWORKS, ids=names)
def test_network_has_the_published_keys_and_shapes(part):
    with torch.device("meta"):
        network = NETWORKS[part]()
    assert digest({key: tuple(value.shape) for key, value in network.state_dict().items()}) == DIGESTS[part]


@pytest.mark.parametrize("part", DIGESTS, ids=names)
def test_digests_are_those_of_the_published_lists(part, parity_folder: Path):
    manifest, name = part
    listed = json.loads((parity_folder / "manifests" / f"{manifest}.json").read_text())[name]
    # Of the head motion learner there are three state dicts.
    parts = {
        key: {key: s} if isinstance(s, list) else {f"{key}.{k}": own for k, own in s.items()}
        for key, s in listed.items()
    }
    listed = {key: shape for one in parts.values() for key, shape in one.items()}
    assert digest({key: tuple(s) for key, s in listed.items() if not key.startswith(UNUSED)}) == DIGESTS[part]


def test_digest_sees_every_key_and_shape():
    layout: Layout = {"conv.weight": (3, 4), "conv.bias": (3,)}
    others: list[Layout] = [
        {**layout, "conv.bias": (4,)},
        {"conv.weight": (3, 4)},
        {"conv.weight": (34,), "conv.bias": (3,)},
    ]
    assert len({digest(one) for one in (layout, *others)}) == 4
