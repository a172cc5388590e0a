"""Region nets: Table 4.1, windows that lie where the layers say, the four nets of Figure 4.4, and densities."""

import numpy as np
import pytest
from google.protobuf import text_format

import caffe
from prototxt.errors import NetError
from prototxt.measure import trace
from prototxt.regions import ABLATION, REGION_NETS, build_regions, pathways, region_net, region_solver
from surgery import identity

pytestmark = pytest.mark.unit

TABLE_4_1 = [("conv2_2", 2, 5, 28, 2), ("conv3_3", 4, 5, 56, 4), ("conv4_3", 8, 9, 144, 8), ("conv5_3", 16, 9, 288, 16),
             ("fc6", 32, 9, 576, 32)]


def layers(net):
    return {layer.name: layer for layer in net.layer}


def test_table_4_1_to_the_letter():
    net, found = build_regions("vgg16-regions"), []
    by_name = layers(net)
    measured = [x for x in net.layer if x.type != "Python" and not x.name.startswith("regions_")]
    features, _ = trace(type(net)(layer=measured))
    for path in pathways("vgg16-regions"):
        pairs = by_name[f"pairs_{path.level.name}"]
        (kernel,), (pad,) = pairs.convolution_param.kernel_size, pairs.convolution_param.pad
        assert pad == kernel // 2
        assert features[pairs.bottom[0]].stride == path.stride
        assert pairs.convolution_param.num_output == path.level.side**2
        product = by_name[path.regions]
        assert list(product.convolution_param.kernel_size) == [1]
        assert product.bottom[0] == f"transposed_{path.level.name}"
        found.append((pairs.bottom[0], path.stride, kernel, path.level.window, path.level.factor))
    assert found == TABLE_4_1
    assert [path.level.side for path in pathways("vgg16-regions")] == [14, 14, 18, 18, 18]


@pytest.mark.parametrize("name", [n for n in REGION_NETS if n.startswith(("small", "squeezenet"))])
def test_windows_lie_around_what_their_cells_see(name):
    """The middle of each window is the place of the features that its cells come from, to half a pixel."""
    net = region_net(name)
    built = build_regions(name)
    features, _ = trace(type(built)(layer=[
        x for x in built.layer if x.type != "Python" and not x.name.startswith(("regions_", "product_"))
        or not (net.transpose or net.matrix)]))
    for path in pathways(name):
        level = path.level
        first = features[layers(built)[net.convolution(level)].bottom[0]]
        centre = path.first + level.window / 2
        if net.transpose and level.side % 2 == 0:
            centre += level.stride / 2   # the dual grid begins half a step before
        assert 0 <= float(first.centre) + 0.5 - centre < 1
        assert path.stride == level.stride * net.density


def test_pathways_of_figure_4_4_differ_in_the_two_operations_alone():
    for family in ("vgg16", "squeezenet", "small"):
        for name, (transpose, matrix) in ABLATION.items():
            net = build_regions(f"{family}-pathway-{name}", "train")
            types = [layer.type for layer in net.layer if layer.name.startswith(("pairs", "transposed", "regions"))]
            assert types == ["Convolution", *["Python"] * transpose, *["Convolution"] * matrix]
            assert sum(layer.name.startswith("loss_") for layer in net.layer) == 1


@pytest.fixture
def run(tmp_path):
    def run(name, size=(64, 80), seed=0):
        path = tmp_path / f"{name}.prototxt"
        path.write_text(text_format.MessageToString(build_regions(name, shape=(1, 3, *size))))
        net = caffe.Net(str(path), caffe.TEST)
        draw = np.random.default_rng(seed)
        for blobs in net.params.values():
            blobs[0].data[...] = draw.normal(0, 0.05, blobs[0].data.shape)
            for blob in blobs[1:]:
                blob.data[...] = draw.normal(0, 0.01, blob.data.shape)
        identity(net, region_net(name).matrices)
        net.blobs["data"].data[...] = draw.normal(0, 50, net.blobs["data"].shape)
        net.forward()
        return net

    return run


def test_with_an_identity_the_matrix_changes_nothing(run):
    one, two = run("small-pathway-transpose"), run("small-pathway-both")
    for layer in one.params:
        to = "pairs_relu3_2" if layer == "regions_relu3_2" else layer
        for a, b in zip(one.params[layer], two.params[to], strict=True):
            b.data[...] = a.data
    two.blobs["data"].data[...] = one.blobs["data"].data
    two.forward()
    top = "transposed_relu3_2" if "transposed_relu3_2" in one.blobs else "regions_relu3_2"
    np.testing.assert_allclose(two.blobs["regions_relu3_2"].data, one.blobs[top].data, rtol=1e-4, atol=1e-4)


def test_a_lower_density_has_every_second_region(run):
    whole, thin = run("small-regions"), run("small-regions-stride4")
    for layer, blobs in whole.params.items():
        for a, b in zip(blobs, thin.params[layer], strict=True):
            b.data[...] = a.data
    thin.blobs["data"].data[...] = whole.blobs["data"].data
    thin.forward()
    for one, two in zip(pathways("small-regions"), pathways("small-regions-stride4"), strict=True):
        assert (two.first, two.stride) == (one.first, 2 * one.stride)
        np.testing.assert_allclose(thin.blobs[two.regions].data, whole.blobs[one.regions].data[:, :, ::2, ::2],
                                   rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["small-regions-scored", "small-regions-convolution-scored"])
def test_scores_stand_on_the_grid_of_the_regions(run, name):
    net = run(name, (70, 83))
    for path in pathways(name):
        assert net.blobs[path.score].data.shape[2:] == net.blobs[path.regions].data.shape[2:]


@pytest.mark.parametrize("name", list(REGION_NETS))
def test_every_net_of_a_family_has_its_losses_and_solver(name):
    net, entry = build_regions(name, "train"), region_net(name)
    losses = [layer for layer in net.layer if layer.loss_weight]
    assert len(losses) == len(entry.levels) * (2 if entry.scores else 1)
    solver = region_solver(name, "train.prototxt", "snapshot/x", max_iter=3)
    assert (solver.momentum, solver.iter_size, solver.max_iter) == (pytest.approx(0.99), 1, 3)   # 4.4.4


def test_unknown_names():
    with pytest.raises(NetError, match="no region net is called 'vgg'"):
        region_net("vgg")
    with pytest.raises(NetError, match="unknown kind of net"):
        build_regions("small-regions", "deployed")
