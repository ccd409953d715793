import numpy as np
import pytest
import torch

from engine.face.crop import HeadCrop
from engine.kernels.paste_back import paste_back

HEIGHT, WIDTH = 40, 53
CROPS = {
    "same size": (9, 7, 24),
    "larger": (3, 2, 35),
    "smaller": (20, 11, 13),
    "half": (20, 11, 12),
    "beyond two edges": (-9, -6, 30),
    "beyond the others": (37, 25, 30),
    "whole height": (5, 0, HEIGHT),
    "larger than the picture": (-4, -8, 66),
    "one pixel": (10, 12, 1),
    "elsewhere": (200, -90, 20),
    "far away": (-(2**31), -(2**31), 2**31 - 1),
}


def random_pictures(batch, height, width):
    """Noise over a slope, so that resizing overshoots at both ends of the levels."""
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=draw)


@pytest.mark.parametrize("crop", CROPS.values(), ids=CROPS)
def test_kernel_equals_reference_and_the_processors_way(target, crop):
    picture, head = random_pictures(1, HEIGHT, WIDTH), random_pictures(1, 24, 24)
    pasted = target.run(paste_back, picture, head, torch.tensor([crop]))
    reference = paste_back(picture, head, torch.tensor([crop]))
    assert (pasted.int() - reference.int()).abs().max() <= 1
    assert (pasted != reference).float().mean() < 0.02
    expected = torch.from_numpy(HeadCrop(*crop).paste(picture[0].numpy(), head[0].numpy()))
    assert (pasted[0].int() - expected.int()).abs().max() <= 1


def test_each_picture_has_its_own_crop(target):
    pictures, heads = random_pictures(3, HEIGHT, WIDTH), random_pictures(3, 24, 24)
    crops = torch.tensor([CROPS["larger"], CROPS["smaller"], CROPS["beyond two edges"]], dtype=torch.int32)
    pasted = target.run(paste_back, pictures, heads, crops)
    for n in range(3):
        alone = target.run(paste_back, pictures[n : n + 1], heads[n : n + 1], crops[n : n + 1])
        assert torch.equal(pasted[n], alone[0])


def test_strides_are_followed_and_arguments_are_left_as_they_are(target):
    pictures = random_pictures(2, 2 * HEIGHT, WIDTH).transpose(1, 2)[:, :, ::2]
    heads = random_pictures(2, 24, 48)[:, :, ::2]
    before = pictures.clone()
    crops = torch.tensor([CROPS["larger"], CROPS["smaller"]])
    pasted = target.run(paste_back, pictures, heads, crops, 0.2)
    assert torch.equal(pictures, before)
    assert (pasted.int() - paste_back(pictures, heads, crops, 0.2).int()).abs().max() <= 1


def test_edges_fade_but_for_those_of_the_picture(target):
    picture, head = torch.zeros(1, 30, 30, 1, dtype=torch.uint8), torch.full((1, 20, 20, 1), 200, dtype=torch.uint8)
    pasted = target.run(paste_back, picture, head, torch.tensor([[10, 0, 20]]), 0.25)[0, ..., 0].numpy()
    assert (pasted[0, 16:] == 200).all()
    assert (np.diff(pasted[5, 10:16].astype(int)) > 0).all()
    assert 0 < pasted[19, 29] < 10


def test_no_pictures(target):
    nothing = torch.zeros(0, 3, dtype=torch.int32)
    assert target.run(paste_back, random_pictures(0, 4, 5), random_pictures(0, 2, 2), nothing).shape == (0, 4, 5, 3)


def test_what_does_not_fit_is_refused():
    pictures, heads, crops = random_pictures(1, 4, 5), random_pictures(1, 2, 2), torch.tensor([[0, 0, 2]])
    with pytest.raises(ValueError, match="crops: expected"):
        paste_back(pictures, heads, crops[0])
    with pytest.raises(ValueError, match="heads: expected"):
        paste_back(pictures, heads[:, 1:], crops)
    with pytest.raises(ValueError, match="uint8"):
        paste_back(pictures.float(), heads, crops)
