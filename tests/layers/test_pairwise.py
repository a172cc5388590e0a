"""The layers on pairwise blobs in nets: shapes, values, gradients by finite differences, and what they refuse."""

import numpy as np
import pytest

import caffe
from halide_kernels import pairwise_matmul, pairwise_transpose

pytestmark = pytest.mark.unit

INPUT = 'layer {{ name: "{0}" type: "Input" top: "{0}" input_param {{ shape {{ {1} }} }} }}\n'
LAYER = """
layer {{ name: "{name}" type: "Python" {bottoms} top: "{top}" python_param {{
  module: "layers.pairwise" layer: "{kind}" param_str: "{params}" }} }}
"""


@pytest.fixture
def build(tmp_path):
    """build({blob: shape}, (kind, bottoms, params), ...): a net in which each layer's top is named after its number."""

    def build(shapes, *layers):
        text = "force_backward: true\n" + "".join(
            INPUT.format(name, " ".join(f"dim: {d}" for d in shape)) for name, shape in shapes.items())
        for number, (kind, bottoms, params) in enumerate(layers, 1):
            text += LAYER.format(name=f"pairs{number}", top=f"top{number}", kind=kind, params=params,
                                 bottoms=" ".join(f'bottom: "{bottom}"' for bottom in bottoms))
        path = tmp_path / "net.prototxt"
        path.write_text(text)
        return caffe.Net(str(path), caffe.TRAIN)

    return build


def check_gradients(net, bottoms, top, step=2**-11):
    """Finite differences through the net, but where a step changes which term is chosen: the two sides differ there."""
    draw = np.random.default_rng(0)
    for name in bottoms:
        net.blobs[name].data[...] = draw.standard_normal(net.blobs[name].data.shape)
    net.forward()
    diff = draw.standard_normal(net.blobs[top].data.shape)
    net.blobs[top].diff[...] = diff
    net.backward()
    for name in bottoms:
        data, found, checked = net.blobs[name].data, net.blobs[name].diff.copy(), 0
        for at in map(tuple, draw.integers(0, data.shape, (40, 4))):
            value, results = data[at], []
            for moved in (value - step, value, value + step):
                net.blobs[name].data[at] = moved
                net.forward()
                results.append((net.blobs[top].data * diff).sum())
            net.blobs[name].data[at] = value
            below, above = np.diff(results) / step
            if abs(above - below) < 1e-2:
                assert found[at] == pytest.approx((below + above) / 2, rel=5e-3, abs=5e-3), (name, at)
                checked += 1
        assert checked >= 30


@pytest.mark.tiny
@pytest.mark.parametrize("r, more", [(3, 0), (4, 1)])
def test_transpose_and_inverse(build, r, more):
    net = build({"p": (2, r * r, 5, 7)}, ("PairwiseTranspose", ["p"], ""),
                ("PairwiseTranspose", ["top1"], "{'inverse': True}"))
    p = np.random.default_rng(1).standard_normal((2, r * r, 5, 7)).astype(np.float32)
    net.forward(p=p)
    assert net.blobs["top1"].data.shape == (2, r * r, 5 + more, 7 + more)
    expected = np.empty(net.blobs["top1"].data.shape, np.float32)
    pairwise_transpose.with_numpy(p, expected)
    np.testing.assert_array_equal(net.blobs["top1"].data, expected)
    back = net.blobs["top2"].data
    np.testing.assert_array_equal(back[:, :, 2:-2, 2:-2], p[:, :, 2:-2, 2:-2])
    net.blobs["p"].reshape(1, r * r, 9, 6)   # another image size
    net.forward(p=p[:1, :, :1, :1].repeat(9, 2).repeat(6, 3))
    assert net.blobs["top1"].data.shape == (1, r * r, 9 + more, 6 + more)


@pytest.mark.parametrize("r", [3, 4])
def test_gradient_of_transpose(build, r):
    net = build({"p": (2, r * r, 4, 5)}, ("PairwiseTranspose", ["p"], ""))
    check_gradients(net, ["p"], "top1")


def product(semiring, p1, p2, r):
    out = np.empty((len(p1), r * r, *p1.shape[2:]), np.float32)
    pairwise_matmul.with_numpy(semiring, p1, p2, out, np.empty(out.shape, np.int32))
    return out


@pytest.mark.tiny
@pytest.mark.parametrize("semiring", pairwise_matmul.SEMIRINGS)
def test_product(build, semiring):
    net = build({"a": (2, 4, 5, 7), "b": (2, 9, 6, 8)}, ("PairwiseMatMul", ["a", "b"], {"semiring": semiring, "R": 2}))
    a, b = (np.random.default_rng(1).standard_normal(net.blobs[name].data.shape).astype(np.float32) for name in "ab")
    net.forward(a=a, b=b)
    np.testing.assert_allclose(net.blobs["top1"].data, product(semiring, a, b, 2), rtol=1e-5, atol=1e-5)


def test_by_default_the_product_is_the_ordinary_one_and_whole(build):
    net = build({"p": (1, 9, 5, 5)}, ("PairwiseMatMul", ["p", "p"], ""))
    p = np.random.default_rng(1).standard_normal((1, 9, 5, 5)).astype(np.float32)
    net.forward(p=p)
    np.testing.assert_allclose(net.blobs["top1"].data, product("sum_product", p, p, 5), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("semiring", pairwise_matmul.SEMIRINGS)
def test_gradient_of_product(build, semiring):
    net = build({"a": (1, 9, 3, 4), "b": (1, 9, 3, 4)}, ("PairwiseMatMul", ["a", "b"], {"semiring": semiring}))
    check_gradients(net, ["a", "b"], "top1")


def test_gradient_of_transposes_around_a_product(build):
    """On the dual grid and back: the transposed blob times the first one, in even windows."""
    net = build({"p": (1, 4, 3, 4)}, ("PairwiseTranspose", ["p"], ""),
                ("PairwiseMatMul", ["p", "top1"], {"semiring": "min_sum"}))
    check_gradients(net, ["p"], "top2")


@pytest.mark.parametrize(
    ("shapes", "layer", "words"),
    [
        ({"p": (1, 8, 5, 5)}, ("PairwiseTranspose", ["p"], ""), "no pairwise blob"),
        ({"p": (1, 9, 5)}, ("PairwiseTranspose", ["p"], ""), "no pairwise blob"),
        ({"p": (1, 4, 1, 5)}, ("PairwiseTranspose", ["p"], "{'inverse': 1}"), "empty top"),
        ({"p": (1, 4, 5, 5)}, ("PairwiseTranspose", ["p", "p"], ""), "2 bottoms"),
        ({"p": (1, 4, 5, 5)}, ("PairwiseTranspose", ["p"], "{'invers': 1}"), "did you mean 'inverse'"),
        ({"p": (1, 9, 5, 5)}, ("PairwiseMatMul", ["p"], ""), "1 bottoms"),
        ({"p": (1, 9, 5, 5)}, ("PairwiseMatMul", ["p", "p"], {"semiring": "max"}), "'semiring' is not known"),
        ({"p": (1, 9, 5, 5)}, ("PairwiseMatMul", ["p", "p"], {"R": 4}), "no middle cells"),
        ({"p": (1, 9, 5, 5)}, ("PairwiseMatMul", ["p", "p"], {"R": 7}), "no middle cells"),
        ({"p": (1, 4, 5, 5)}, ("PairwiseMatMul", ["p", "p"], ""), "dual grid"),
        ({"p": (1, 9, 5, 5), "q": (1, 9, 6, 6)}, ("PairwiseMatMul", ["p", "q"], ""), "the same grid"),
    ],
)
def test_what_it_refuses(build, shapes, layer, words):
    with pytest.raises(caffe.CaffeError, match=words) as error:
        build(shapes, layer)
    assert "pairs1" in str(error.value) and "help:" in str(error.value)
