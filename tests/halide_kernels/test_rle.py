"""RLE of regions: equal to pycocotools on the whole mask, clipped at every border; bilinear as PyTorch's."""

import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco

from halide_kernels import rle


def of_whole(mask):
    return coco.encode(np.asfortranarray(mask.astype(np.uint8)))


EDGES = [(0, 0, 30, 40), (-3, -2, 4, 5), (-100, 0, 30, 40), (0, 100, 30, 40), (5, 6, 1, 200), (-9, 7, 200, 1)]


@pytest.mark.unit
@pytest.mark.parametrize("side, factor, count", [(1, 1, 1), (3, 1, 2), (5, 2, 3), (14, 4, 20), (7, 3, 1), (4, 32, 5)])
def test_back_ends_agree(back_end, side, factor, count):
    draw = np.random.default_rng(side)
    for top, left, height, width in EDGES:
        cells = draw.standard_normal((side, side, count)).astype(np.float32)
        tops, lefts = (at + draw.integers(-4, 5, count).astype(np.int32) for at in (top, left))
        expected, found = (np.full((count, side * factor, side * factor + 1), 7, np.uint8) for _ in range(2))
        rle.with_numpy(cells, tops, lefts, factor, height, width, expected)
        back_end(rle.BACKENDS)(cells, tops, lefts, factor, height, width, found)
        np.testing.assert_array_equal(found, expected)


@pytest.mark.unit
@pytest.mark.parametrize("name", ["numpy", "halide"])
def test_many_regions_chunk_by_chunk(name, monkeypatch):
    monkeypatch.setattr(rle.backend, "choose", lambda array: (name, ""))
    monkeypatch.setattr(rle, "_BYTES", 5000)   # two regions at a time
    draw = np.random.default_rng(0)
    cells, (tops, lefts) = draw.integers(-2, 3, (8, 8, 25)), draw.integers(-30, 40, (2, 25))
    found = rle.encode_all(cells, tops, lefts, 5, 37, 29)
    assert found == [of_whole(rle.whole_mask(cells[:, :, k], tops[k], lefts[k], 5, 37, 29)) for k in range(25)]
    assert rle.encode_all(cells[:, :, :0], [], [], 5, 37, 29) == []


@pytest.mark.unit
@given(st.integers(0, 2**32), st.integers(1, 7), st.integers(1, 6), st.integers(-30, 40), st.integers(-30, 40),
       st.integers(1, 40), st.integers(1, 40), st.sampled_from([-10, -1, 0, 1, 10]))
@settings(max_examples=400, deadline=None)
def test_as_pycocotools_encodes_the_whole_mask(seed, side, factor, top, left, height, width, shift):
    scores = np.random.default_rng(seed).integers(-3, 4, (side, side)) + shift
    expected = of_whole(rle.whole_mask(scores, top, left, factor, height, width))
    found = rle.encode(scores, top, left, factor, height, width)
    assert found == expected
    assert isinstance(found["counts"], bytes)


@pytest.mark.unit
@given(st.integers(0, 2**32), st.integers(1, 300), st.integers(1, 300), st.floats(0, 1))
@settings(max_examples=50, deadline=None)
def test_any_mask_of_the_size_of_the_picture(seed, height, width, density):
    mask = np.random.default_rng(seed).random((height, width)) < density
    column, row = np.nonzero(np.diff(np.pad(mask.T, ((0, 0), (1, 1))).astype(np.int8)))
    assert rle.compressed(rle.lengths(column * height + row, mask.size)) == of_whole(mask)["counts"]


@pytest.mark.tiny
@pytest.mark.parametrize("value", [-1.0, 1.0])
def test_no_pixel_and_all_pixels(value):
    assert rle.encode(np.full((5, 5), value), -3, -2, 2, 4, 5) == of_whole(np.full((4, 5), value > 0))


@pytest.mark.unit
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 8])
def test_bilinear_as_pytorch(factor):
    scores = np.random.default_rng(factor).standard_normal((14, 14))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(scores)[None, None], scale_factor=factor, mode="bilinear", align_corners=False)[0, 0] > 0
    np.testing.assert_array_equal(rle.window(scores, factor), expected.numpy())


@pytest.mark.unit
@pytest.mark.parametrize("factor", [1, 2, 3, 4, 7, 8])
def test_bilinear_as_caffes_deconvolution_with_the_bilinear_filler(factor):
    """Caffe's loses the weight of cells outside, which scales a pixel and leaves its sign."""
    kernel = 2 * factor - factor % 2
    centre = (2 * -(-kernel // 2) - 1 - -(-kernel // 2) % 2) / (2 * -(-kernel // 2))
    line = 1 - abs(np.arange(kernel) / -(-kernel // 2) - centre)
    scores = np.random.default_rng(factor).standard_normal((9, 9))
    up = torch.nn.functional.conv_transpose2d(
        torch.from_numpy(scores)[None, None], torch.from_numpy(np.outer(line, line))[None, None], stride=factor,
        padding=-(-(factor - 1) // 2))[0, 0]
    np.testing.assert_array_equal(rle.window(scores, factor), up.numpy() > 0)


@pytest.mark.unit
def test_memory_is_that_of_a_window():
    scores = np.random.default_rng(0).standard_normal((14, 14))
    rle.encode(scores, 0, 0, 4, 100, 100)
    tracemalloc.start()
    rle.encode(scores, 5000, 5000, 4, 20000, 20000)   # the whole mask: 400 MB
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10**6
