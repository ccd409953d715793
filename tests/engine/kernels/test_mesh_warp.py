import cv2
import numpy as np
import pytest
import torch

from engine.generators.rasterizer import Rasterized, rasterize
from engine.kernels.mesh_warp import mesh_warp

TOLERANCE = {
    torch.float32: {"atol": 1e-3, "rtol": 1e-4},
    torch.float16: {"atol": 3e-3, "rtol": 2e-3},
    torch.bfloat16: {"atol": 2e-2, "rtol": 1e-2},
    torch.uint8: {"atol": 1, "rtol": 0},
}
HEIGHT, WIDTH = 37, 45


def lattice(columns, rows):
    """(V, 2) points from 0 to 1 and (T, 3) triangles between them, of either winding."""
    y, x = np.divmod(np.arange(columns * rows), columns)
    corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
    upper = np.stack((corner, corner + 1, corner + columns), axis=1)
    lower = np.stack((corner + columns + 1, corner + 1, corner + columns), axis=1)
    points = np.stack((x / (columns - 1), y / (rows - 1)), axis=1)
    return torch.from_numpy(points).float(), torch.from_numpy(np.concatenate((upper, lower))).int()


def random_mesh(batch, picture_height, picture_width, seed=0):
    """Vertices that fold over each other and leave the frame, triangles, their sources, and an order to paint them."""
    draw = torch.Generator().manual_seed(seed)
    points, triangles = lattice(7, 6)
    extent = torch.tensor([WIDTH, HEIGHT]) * 0.9
    vertices = points * extent - 4.0 + 3.0 * torch.randn(batch, len(points), 2, generator=draw)
    source = points * torch.tensor([picture_width, picture_height]) - 0.5
    source = source + torch.randn(batch, len(points), 2, generator=draw)
    order = torch.stack([torch.randperm(len(triangles), generator=draw) for _ in range(batch)]).int()
    return vertices, triangles, source, order


def smooth_picture(batch, channels, height, width, dtype):
    draw = torch.Generator().manual_seed(3)
    coarse = torch.rand(batch, channels, 4, 5, generator=draw)
    picture = torch.nn.functional.interpolate(coarse, size=(height, width), mode="bilinear")
    return (255 * picture).round().to(dtype) if dtype == torch.uint8 else picture.to(dtype)


@pytest.mark.parametrize("padding", ["zeros", "border"])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
@pytest.mark.parametrize("channels", [1, 4])
def test_kernel_equals_reference(target, dtype, layout, channels, padding):
    picture = smooth_picture(2, channels, 21, 33, dtype).contiguous(memory_format=layout)
    vertices, triangles, source, order = random_mesh(2, 21, 33)
    arguments = picture, vertices, triangles, source, (HEIGHT, WIDTH), order, padding, -9.0
    warp, expected = target.run(mesh_warp, *arguments), mesh_warp(*arguments)
    assert torch.equal(warp.triangle, expected.triangle)
    assert 0.1 < (warp.triangle < 0).float().mean() < 0.6
    torch.testing.assert_close(warp.place, expected.place, atol=2e-3, rtol=1e-4)
    assert (warp.place[warp.triangle < 0] == -9.0).all()
    if padding == "border":  # what is drawn is then continuous in the place
        torch.testing.assert_close(warp.sampled, expected.sampled, **TOLERANCE[dtype])
    else:
        inside = (expected.place[..., 0] - 16).abs().lt(15) & (expected.place[..., 1] - 10).abs().lt(9)
        shown = (inside & (expected.triangle >= 0))[:, None].expand_as(warp.sampled)
        torch.testing.assert_close(warp.sampled[shown], expected.sampled[shown], **TOLERANCE[dtype])
        outside = ((expected.place[..., 0] < -1.1) | (expected.triangle < 0))[:, None].expand_as(warp.sampled)
        assert outside.any()
        assert not warp.sampled[outside].any()


@pytest.mark.parametrize("seed", range(3))
def test_lookup_and_places_are_the_rasterizers(target, seed):
    vertices, triangles, source, order = random_mesh(2, 21, 33, seed)
    # On pixels' centres and edges too, where it is rounding that decides.
    vertices[1] = (2 * vertices[1]).round() / 2
    picture = smooth_picture(2, 1, 21, 33, torch.float32)
    warp = target.run(mesh_warp, picture, vertices, triangles, source, (HEIGHT, WIDTH), order, "zeros", -9.0)
    for n in range(2):
        drawn = Rasterized(vertices[n].numpy(), triangles.numpy(), order[n].numpy(), WIDTH, HEIGHT)
        shown = np.where(drawn.triangle_of_pixel < len(triangles), drawn.triangle_of_pixel, -1)
        assert np.array_equal(warp.triangle[n].numpy(), shown)
        corners = vertices[n].numpy()[triangles.numpy()]
        (ax, ay), (bx, by) = (corners[:, 1] - corners[:, 0]).T, (corners[:, 2] - corners[:, 0]).T
        # The rasterizer's planes lose digits where a triangle is a sliver.
        sound = np.append(np.abs(ax * by - ay * bx) > 2.0, True)[drawn.triangle_of_pixel]
        expected = np.stack(drawn.everywhere(source[n].numpy(), outside=-9.0), axis=-1)
        np.testing.assert_allclose(warp.place[n].numpy()[sound], expected[sound], atol=5e-3)


def test_drawn_as_opencv_draws_it(target):
    """What `MeshGenerator` does with a layer of four 8-bit channels."""
    vertices, triangles, source, order = random_mesh(1, 64, 80)
    layer = smooth_picture(1, 4, 64, 80, torch.uint8).contiguous(memory_format=torch.channels_last)
    warp = target.run(mesh_warp, layer, vertices, triangles, source, (HEIGHT, WIDTH), order, "zeros", -9.0)
    place = warp.place[0].numpy()
    expected = cv2.remap(layer[0].permute(1, 2, 0).numpy(), place[..., 0], place[..., 1], cv2.INTER_LINEAR)
    difference = np.abs(warp.sampled[0].permute(1, 2, 0).numpy().astype(int) - expected.astype(int))
    # OpenCV rounds places to 1/32 pixel, which shows where a picture ends.
    within = ((place > 1) & (place < [78, 62])).all(axis=-1)
    assert difference[within].max() <= 1
    assert difference.mean() < 0.1


def test_pixels_of_a_whole_mesh_belong_to_one_triangle_each(target):
    """No gap and no double cover: painted in two opposite orders the same is seen, nothing is left out."""
    points, triangles = lattice(9, 7)
    inner = ((points > 0) & (points < 1)).all(dim=1)
    vertices = points * torch.tensor([WIDTH, HEIGHT])
    vertices[inner] += torch.randn(int(inner.sum()), 2, generator=torch.Generator().manual_seed(0))
    vertices = ((4 * vertices).round() / 4)[None]
    picture = torch.zeros(1, 1, 4, 4)
    size = HEIGHT, WIDTH
    forwards = target.run(mesh_warp, picture, vertices, triangles, vertices, size)
    order = torch.arange(len(triangles) - 1, -1, -1, dtype=torch.int32)
    reverse = target.run(mesh_warp, picture, vertices, triangles, vertices, size, order)
    assert (forwards.triangle >= 0).all()
    assert torch.equal(forwards.triangle, reverse.triangle)


def test_order_of_threads_does_not_matter(host, backwards):
    picture = smooth_picture(2, 3, 21, 33, torch.float32)
    vertices, triangles, source, order = random_mesh(2, 21, 33)
    one = mesh_warp(picture, vertices, triangles, source, (HEIGHT, WIDTH), order, launcher=host)
    other = mesh_warp(picture, vertices, triangles, source, (HEIGHT, WIDTH), order, launcher=backwards)
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_strides_are_followed(target):
    picture = smooth_picture(2, 6, 33, 42, torch.float32).transpose(2, 3)[:, ::2, ::2]
    vertices, triangles, source, order = random_mesh(2, 21, 33)
    spaced = torch.cat((vertices, torch.randn(2, vertices.shape[1], 1)), dim=2)[..., :2]
    turned = source.transpose(1, 2).contiguous().transpose(1, 2)
    both = torch.stack((triangles, triangles.flip(0)))
    both_orders = torch.cat((order, order), dim=1)[:, 20:80]
    warp = target.run(mesh_warp, picture, spaced, both, turned, (HEIGHT, WIDTH), both_orders, "border")
    expected = mesh_warp(picture, spaced, both, turned, (HEIGHT, WIDTH), both_orders, "border")
    assert torch.equal(warp.triangle, expected.triangle)
    torch.testing.assert_close(warp.sampled, expected.sampled, **TOLERANCE[torch.float32])


def test_triangles_with_a_vertex_nowhere_are_not_drawn(target):
    vertices = torch.tensor([[[0, 0], [9, 0], [0, 9], [float("nan"), 9], [float("inf"), 0]]])
    triangles = torch.tensor([[0, 1, 2], [1, 2, 3], [0, 1, 4]], dtype=torch.int32)
    warp = target.run(mesh_warp, torch.ones(1, 1, 2, 2), vertices, triangles, torch.zeros(1, 5, 2), (9, 9))
    assert set(warp.triangle.unique().tolist()) == {-1, 0}


def test_enormous_and_flat_triangles(target):
    vertices = torch.tensor([[[-1e8, -1e8], [1e8, -1e8], [0.0, 1e8], [3.0, 3.0], [4.0, 4.0], [5.0, 5.0]]])
    triangles = torch.tensor([[0, 1, 2], [3, 4, 5], [3, 3, 3]], dtype=torch.int32)
    warp = target.run(mesh_warp, torch.ones(1, 1, 2, 2), vertices, triangles, torch.zeros(1, 6, 2), (5, 70))
    assert torch.equal(warp.triangle, torch.zeros(1, 5, 70, dtype=torch.int32))
    assert np.array_equal(rasterize(vertices[0].numpy(), triangles.numpy(), 70, 5), warp.triangle[0].numpy())


@pytest.mark.parametrize(("batch", "count", "size"), [(0, 2, (3, 3)), (1, 0, (3, 3)), (1, 2, (0, 3))])
def test_nothing_to_draw(target, batch, count, size):
    triangles, points = torch.zeros(count, 3, dtype=torch.int32), torch.zeros(batch, 1, 2)
    warp = target.run(mesh_warp, torch.ones(batch, 3, 2, 2), points, triangles, points, size)
    assert warp.sampled.shape == (batch, 3, *size)
    assert not warp.sampled.any()
    assert (warp.triangle == -1).all()
    reference = mesh_warp(torch.ones(batch, 3, 2, 2), points, triangles, points, size)
    assert all(torch.equal(a, b) for a, b in zip(warp, reference, strict=True))


def test_what_does_not_fit_is_refused():
    picture, points, triangles = torch.ones(1, 1, 2, 2), torch.zeros(1, 3, 2), torch.zeros(4, 3, dtype=torch.int32)
    with pytest.raises(ValueError, match="vertices and source: expected"):
        mesh_warp(picture, points, triangles, points[:, 1:], (2, 2))
    with pytest.raises(ValueError, match="triangles: expected"):
        mesh_warp(picture, points, triangles[:, :2], points, (2, 2))
    with pytest.raises(ValueError, match="picture: expected"):
        mesh_warp(picture[0], points, triangles, points, (2, 2))
