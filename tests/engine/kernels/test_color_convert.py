import av
import numpy as np
import pytest
import torch

from engine.kernels.color_convert import color_convert
from engine.kernels.color_convert_reference import color_convert_reference

SIZES = [(1, 1), (1, 2), (2, 1), (5, 7), (8, 10), (33, 70)]


def random_frames(batch, height, width):
    draw = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (batch, height, width, 3), dtype=torch.uint8, generator=draw)


def largest_difference(one, other):
    return max((a.int() - b.int()).abs().max().item() for a, b in zip(one, other, strict=True))


def libswscale(frame):
    """y, u and v."""
    made = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24").reformat(
        format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG", threads=1
    )
    return [
        torch.from_numpy(np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width].copy())
        for plane in made.planes
    ]


@pytest.mark.parametrize("layout", ["i420", "nv12"])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_kernel_equals_reference(target, size, layout):
    frames = random_frames(2, *size)
    result = target.run(color_convert, frames, layout)
    # Where a level's middle is met, the order of a sum decides.
    assert largest_difference((result.y, result.u, result.v), color_convert_reference(frames)) <= 1
    reference = color_convert(frames, layout)
    assert largest_difference([result.buffer], [reference.buffer]) <= 1
    assert (result.buffer != reference.buffer).float().mean() < 0.02


@pytest.mark.parametrize("size", [(8, 8), (36, 64), (50, 18)], ids=str)
def test_even_frames_are_libswscales_within_a_level(size):
    frames = random_frames(1, *size)
    planes = [plane[0] for plane in color_convert_reference(frames)]
    assert largest_difference(planes, libswscale(frames[0].numpy())) <= 1


def test_colours_of_the_standard(target):
    """Limited range: 16 to 235, chroma 16 to 240 around 128."""
    colours = torch.tensor([[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]], dtype=torch.uint8)
    result = target.run(color_convert, colours[:, None, None].expand(-1, 2, 2, -1))
    shown = torch.stack((result.y[:, 0, 0], result.u[:, 0, 0], result.v[:, 0, 0]), dim=1)
    assert shown.tolist() == [[16, 128, 128], [235, 128, 128], [81, 90, 240], [145, 54, 34], [41, 240, 110]]


def test_layouts_in_memory():
    frames = random_frames(1, 4, 6)
    y, u, v = (plane[0].flatten() for plane in color_convert_reference(frames))
    assert torch.equal(color_convert(frames).buffer[0], torch.cat((y, u, v)))
    assert torch.equal(color_convert(frames, "nv12").buffer[0], torch.cat((y, torch.stack((u, v), dim=1).flatten())))


@pytest.mark.parametrize("layout", ["i420", "nv12"])
def test_every_byte_is_written(host, layout, monkeypatch):
    frames = torch.full((2, 5, 7, 3), 255, dtype=torch.uint8)
    monkeypatch.setattr(torch, "empty", torch.zeros)
    converted = color_convert(frames, layout, launcher=host)
    assert (converted.buffer > 100).all()


def test_strides_are_followed(target):
    frames = random_frames(2, 12, 14).permute(0, 3, 2, 1).contiguous().permute(0, 3, 2, 1)[:, ::2, 1:, :].flip(3)
    frames = torch.cat((frames, frames), dim=3)[..., 1:4]
    result = target.run(color_convert, frames)
    assert largest_difference((result.y, result.u, result.v), color_convert_reference(frames)) <= 1


def test_no_frames(target):
    assert target.run(color_convert, random_frames(0, 4, 6)).buffer.shape == (0, 36)


def test_what_does_not_fit_is_refused():
    with pytest.raises(ValueError, match="expected"):
        color_convert(torch.zeros(1, 4, 4, 3))
    with pytest.raises(ValueError, match="'i420' or 'nv12'"):
        color_convert(random_frames(1, 4, 4), "yuy2")
