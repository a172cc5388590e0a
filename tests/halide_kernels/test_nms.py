"""Non-max suppression: all back ends keep what the quadratic definition keeps, for any grids, in linear time."""

import ctypes
import shutil
import subprocess

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from halide_kernels import backend, nms

needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
needs_cupy = pytest.mark.skipif(backend.find("cupy")[0] is None, reason=str(backend.find("cupy")[1]))


def cuda_as_cpp(folder):
    """The CUDA source compiled as C++, a thread after another: its arithmetic without a GPU."""
    source, library = folder / "kernel.cpp", folder / "kernel.so"
    source.write_text(
        "#include <algorithm>\n#define __global__\n#define __device__ static\n#define __popcll __builtin_popcountll\n"
        "using std::min; using std::max; struct { int x; } blockIdx, blockDim = {1}, threadIdx;\n" + nms.CUDA
        + 'extern "C" void all(const int* a, const int* b, const int* c, const unsigned char* d, const int* e,'
        " const int* f, const unsigned long long* g, int u, int r, double t, unsigned char* o, int n, int near) {\n"
        " for (blockIdx.x = 0; blockIdx.x < n*near*near + 9; blockIdx.x++) nms(a,b,c,d,e,f,g,u,r,t,o,n,near); }\n"
    )
    subprocess.run(["g++", "-O1", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    function = ctypes.CDLL(str(library)).all

    def run(packed, meet, members, alive, threshold, out):
        tables = (meet.own, meet.path, members, alive, packed.area, packed.rank, packed.words)
        function(*(ctypes.c_void_p(table.ctypes.data) for table in tables), packed.unit, meet.rows,
                 ctypes.c_double(threshold), ctypes.c_void_p(out.ctypes.data), len(members), meet.near)

    return run


@pytest.fixture(scope="module", params=[
    "numpy",
    pytest.param("halide", marks=pytest.mark.skipif(backend.find("halide")[0] is None, reason="Halide is missing")),
    pytest.param("cuda source", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++")),
    pytest.param("cuda", marks=[pytest.mark.gpu, needs_cuda, needs_cupy]),
])
def conflicts(request, tmp_path_factory):
    if request.param == "cuda source":
        return cuda_as_cpp(tmp_path_factory.mktemp("cuda"))
    return nms.BACKENDS[request.param]


@st.composite
def regions(draw):
    """Pathways of any geometry, wide cells among them whose rows take several words; scores tie often."""
    numbers = np.random.default_rng(draw(st.integers(0, 2**32)))
    pathways, masks, scores = [], [], []
    for _ in range(draw(st.integers(1, 3))):
        cell = draw(st.integers(1, 5)) * draw(st.sampled_from([1, 1, 1, 29]))
        side = draw(st.integers(1, 7 if cell < 9 else 3))
        p = nms.Pathway(draw(st.integers(-9, 9)), draw(st.integers(-9, 9)), draw(st.integers(1, 6)), cell, side)
        shape = draw(st.integers(1, 4)), draw(st.integers(1, 4))
        density = draw(st.sampled_from([0, 0.5, 0.9, 1]))
        pathways.append(p)
        masks.append(numbers.random((side**2, *shape)) < density * numbers.integers(0, 2, shape))
        scores.append(numbers.choice([-np.inf, 0, 1, 2, np.nan], shape, p=[.1, .3, .3, .2, .1]).astype(np.float32))
    return pathways, masks, scores


@pytest.mark.unit
@given(regions(), st.sampled_from([0, 0.1, 0.25, 1 / 3, 0.5, 0.7, 1]))
@settings(max_examples=150, deadline=None)
def test_keeps_what_the_definition_keeps(conflicts, case, threshold):
    kept, _ = nms.suppress(nms.pack(*case), threshold, conflicts)
    np.testing.assert_array_equal(kept, nms.with_pixels(*case, threshold))


@pytest.mark.unit
@given(regions(), st.sampled_from([0, 0.3, 0.7]), st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_the_best_of_those_that_are_kept(case, threshold, most):
    packed = nms.pack(*case)
    kept, best = (nms.suppress(packed, threshold, nms.with_numpy, limit)[0] for limit in (None, most))
    assert packed.order[best[packed.order]].tolist() == packed.order[kept[packed.order]][:most].tolist()


def discs(pathways, shapes, radii, seed=0):
    """A disc in each window, of a size that varies, and scores."""
    draw, masks, scores = np.random.default_rng(seed), [], []
    for p, shape, radius in zip(pathways, shapes, radii, strict=True):
        i, j = np.mgrid[:p.side, :p.side] - (p.side - 1) / 2
        size = radius * (0.5 + draw.random(shape))
        masks.append(np.hypot(i, j).reshape(-1, 1, 1) <= size)
        scores.append(draw.random(shape).astype(np.float32))
    return pathways, masks, scores


@pytest.mark.unit
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_more_regions_than_a_chunk_and_the_thesiss_windows(conflicts, threshold):
    """Windows of 28, 144 and 576 pixels: cells of 2, 8 and 32, on grids of different strides and phases."""
    case = discs([nms.Pathway(-13, -13, 2, 2, 14), nms.Pathway(-68, -68, 8, 8, 18),
                  nms.Pathway(-272, -272, 32, 32, 18)], [(17, 19), (5, 4), (2, 2)], [5, 6, 3])
    kept, _ = nms.suppress(nms.pack(*case), threshold, conflicts)
    assert kept.size > nms._CHUNK and 0 < kept.sum() < kept.size
    np.testing.assert_array_equal(kept, nms.with_pixels(*case, threshold))


@pytest.mark.tiny
def test_highest_score_first_ties_by_index_and_empty_masks_stay():
    p = nms.Pathway(0, 0, 1, 1, 3)
    full, empty = np.ones((9, 1, 3), bool), np.zeros((9, 1, 3), bool)
    for mask, score, expected in ((full, [0, 0, 0], [1, 0, 1]), (full, [0, 1, 0], [0, 1, 0]),
                                  (full, [0, np.nan, -np.inf], [1, 0, 0]), (empty, [0, 1, 0], [1, 1, 1])):
        kept, _ = nms.suppress(nms.pack([p], [mask], [np.array([score], np.float32)]), 1 / 3)
        assert kept.tolist() == [bool(k) for k in expected], (mask.any(), score)


@pytest.mark.tiny
def test_the_iou_of_cells_of_two_sizes_is_that_of_their_pixels():
    """A 4 x 4 cell of the second pathway covers 2 x 2 cells of 2 pixels, but for a shift by one pixel: 9 in common."""
    pathways = [nms.Pathway(0, 0, 9, 2, 2), nms.Pathway(1, 1, 9, 4, 1)]
    packed = nms.pack(pathways, [np.ones((4, 1, 1), bool), np.ones((1, 1, 1), bool)], [np.ones((1, 1))] * 2)
    for threshold, removed in ((9 / 23 - 1e-6, True), (9 / 23 + 1e-6, False)):
        assert nms.suppress(packed, threshold)[0].tolist() == [True, not removed]


@pytest.mark.unit
@pytest.mark.parametrize("threshold", [0.5, 0.95])
def test_pairs_grow_with_the_regions_and_not_their_square(threshold):
    """At most so many pairs for each region as windows overlap its own: with R 5 and every cell a centre, 9 x 9."""
    each = []
    for side in (15, 30, 60):
        case = discs([nms.Pathway(0, 0, 4, 4, 5)], [(side, side)], [2])
        pairs = sum(nms.suppress(nms.pack(*case), threshold, nms.with_numpy)[1])
        assert pairs <= side**2 * (9 * 9 - 1) / 2   # each pair from one side only
        each.append(pairs / side**2)
    assert each[2] < 1.3 * each[1]   # the border's regions have fewer neighbours


@pytest.mark.unit
def test_a_region_far_from_all_is_compared_with_none():
    case = discs([nms.Pathway(0, 0, 20, 4, 5)], [(8, 8)], [2])
    kept, pairs = nms.suppress(nms.pack(*case), 0.0, nms.with_numpy)
    assert kept.all() and sum(pairs) == 0


@pytest.mark.unit
@needs_cupy
@pytest.mark.parametrize("architecture", [75, 90])
def test_the_cuda_source_compiles(architecture):
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(nms.CUDA, "nms.cu", (), ())
    nvrtc.compileProgram(program, (f"--gpu-architecture=compute_{architecture}",))
    assert b"nms" in nvrtc.getPTX(program)
