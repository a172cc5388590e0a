"""The nets: crops, sizes, what each recipe decides, and errors of the registry."""

import ast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prototxt import DATA, NETS, RECIPES, build, data_layer, recipes_of, solver
from prototxt.errors import NetError
from prototxt.measure import trace


def layers(net):
    return {layer.name: layer for layer in net.layer}


@pytest.mark.tiny
@pytest.mark.parametrize(
    ("name", "offsets"),
    [
        ("fcn32s", {"score": 19}),
        ("fcn16s", {"score_pool4c": 5, "score": 27}),
        ("fcn8s", {"score_pool4c": 5, "score_pool3c": 9, "score": 31}),
        ("fcn8s-atonce", {"score_pool4c": 5, "score_pool3c": 9, "score": 31}),
        ("fcn-alexnet", {"score": 18}),
    ],
)
def test_crop_offsets_are_the_published_ones(name, offsets):
    found = {layer.name: layer for layer in build(name).layer if layer.type == "Crop"}
    assert {name: list(layer.crop_param.offset) for name, layer in found.items()} == {
        name: [offset] for name, offset in offsets.items()
    }
    assert all(layer.crop_param.axis == 2 for layer in found.values())


DEPLOY = {name: build(name) for name in NETS}


def resized(net, height, width):
    """`net`, a deploy net, for another input size (changed in place)."""
    for layer in net.layer:
        if layer.type == "Input":
            layer.input_param.shape[0].dim[2:] = [height, width]
    return net


@pytest.mark.unit
@pytest.mark.parametrize("name", NETS)
@settings(max_examples=8, deadline=None)
@given(st.integers(32, 700), st.integers(32, 700))
def test_scores_lie_on_the_pixels_of_an_image_of_any_size(name, height, width):
    """`trace` refuses sums of misaligned blobs and crops of more than there is."""
    traces, _ = trace(resized(DEPLOY[name], height, width))
    for head in NETS[name].heads:
        score = traces[f"score{head.suffix}"]
        assert score.shape == (head.classes, height, width)
        assert (score.stride, score.centre) == (1, 0)


@pytest.mark.unit
@pytest.mark.parametrize("pad", [1, 2, 7, 32])
@pytest.mark.parametrize("name", ["squeezenet-fcn16s", "squeezenet-fcn8s", "squeezenet-fcn4s", "small-fcn8s"])
def test_any_border_of_a_pixel_or_more_covers_the_image(name, pad):
    net = build(name, pad=pad)
    for size in range(32, 32 + 32):
        trace(resized(net, size, size))


@pytest.mark.unit
def test_without_a_border_squeezenet_misses_the_last_row_of_some_sizes():
    net = build("squeezenet-fcn16s", pad=0)
    trace(resized(net, 33, 33))
    with pytest.raises(NetError, match="crops more than there is"):
        trace(resized(net, 32, 32))


@pytest.mark.unit
def test_fcn8s_has_the_published_layers_above_the_classifier():
    found = [(layer.name, layer.type, list(layer.bottom)) for layer in build("fcn8s").layer]
    start = [name for name, _, _ in found].index("score_fr")
    assert found[start:] == [
        ("score_fr", "Convolution", ["fc7"]),
        ("upscore2", "Deconvolution", ["score_fr"]),
        ("score_pool4", "Convolution", ["pool4"]),
        ("score_pool4c", "Crop", ["score_pool4", "upscore2"]),
        ("fuse_pool4", "Eltwise", ["upscore2", "score_pool4c"]),
        ("upscore_pool4", "Deconvolution", ["fuse_pool4"]),
        ("score_pool3", "Convolution", ["pool3"]),
        ("score_pool3c", "Crop", ["score_pool3", "upscore_pool4"]),
        ("fuse_pool3", "Eltwise", ["upscore_pool4", "score_pool3c"]),
        ("upscore8", "Deconvolution", ["fuse_pool3"]),
        ("score", "Crop", ["upscore8", "data"]),
    ]


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "kernels"),
    [
        ("fcn32s", [(64, 32)]),
        ("fcn16s", [(4, 2), (32, 16)]),
        ("fcn8s", [(4, 2), (4, 2), (16, 8)]),
        ("fcn-alexnet", [(63, 32)]),
        ("squeezenet-fcn4s", [(3, 2), (3, 2), (7, 4)]),
    ],
)
def test_upsampling_kernels_and_strides(name, kernels):
    found = [layer.convolution_param for layer in build(name).layer if layer.type == "Deconvolution"]
    assert [(p.kernel_size[0], p.stride[0]) for p in found] == kernels
    assert all(not p.bias_term and p.group == 1 for p in found)


@pytest.mark.unit
@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("kind", ["train", "val"])
def test_what_the_recipe_decides_is_in_the_net(name, kind):
    for recipe in recipes_of(name):
        net = layers(build(name, kind, recipe=recipe))
        losses = [layer for layer in net.values() if layer.type == "SoftmaxWithLoss"]
        assert len(losses) == len(NETS[name].heads)
        assert all((x.loss_param.normalize, x.loss_param.ignore_label) == (recipe != "heavy", 255) for x in losses)
        assert [x.bottom[1] for x in losses] == [head.label for head in NETS[name].heads]
        for layer in net.values():
            if layer.type == "Deconvolution":
                last = layer.convolution_param.stride[0] == NETS[name].strides[-1]   # to the image: fixed
                learned = layer.param[0].lr_mult > 0
                assert learned == (recipe != "heavy" and not last)   # between skips: learned, but by heavy
        for layer in net.values():
            if layer.type == "Convolution":
                weights, biases = layer.param
                assert biases.lr_mult == 2 * weights.lr_mult and biases.decay_mult == 0


@pytest.mark.unit
@pytest.mark.parametrize(
    ("name", "thesis", "heavy"),
    [
        ("fcn-alexnet", 1e-3, None), ("fcn32s", 1e-4, 1e-10), ("fcn16s", 1e-6, 1e-12), ("fcn8s", 1e-8, 1e-14),
        ("fcn-googlenet", 5e-5, None), ("fcn8s-atonce", None, 1e-10),
    ],
)  # fmt: skip
def test_solvers_have_the_published_numbers(name, thesis, heavy):
    p = solver(name, "thesis", "train", "val", "snapshot")
    assert (p.iter_size, p.lr_policy, p.solver_mode, p.type) == (20, "fixed", p.GPU, "SGD")
    assert (p.momentum, p.weight_decay) == (pytest.approx(0.9), pytest.approx(5e-4))
    assert thesis is None or p.base_lr == pytest.approx(thesis)
    p = solver(name, "heavy", "train", "val", "snapshot")
    assert (p.iter_size, p.lr_policy) == (1, "fixed")
    assert (p.momentum, p.weight_decay) == (pytest.approx(0.99), pytest.approx(5e-4))
    assert heavy is None or p.base_lr == pytest.approx(heavy)


@pytest.mark.unit
def test_frozen_net_learns_its_scores_only():
    for recipe in ("thesis", "heavy"):
        net = build("fcn32s-fixed", "train", recipe=recipe)
        assert [layer.name for layer in net.layer if any(p.lr_mult for p in layer.param)] == ["score_fr"]


@pytest.mark.unit
def test_at_once_scales_the_skips_by_fixed_factors():
    net = layers(build("fcn8s-atonce"))
    for pool, factor in (("pool4", 0.01), ("pool3", 0.0001)):
        scale = net[f"scale_{pool}"]
        assert scale.scale_param.filler.value == pytest.approx(factor)
        assert (list(scale.bottom), scale.param[0].lr_mult) == ([pool], 0)
        assert list(net[f"score_{pool}"].bottom) == [f"scale_{pool}"]


@pytest.mark.unit
def test_two_streams_meet_in_the_mean_of_their_scores():
    net = layers(build("nyud-fcn16s-color-hha"))
    for name, bottoms in (("score_fused", ["score_frcolor", "score_frhha"]),
                          ("score_pool4_fused", ["score_pool4color", "score_pool4hha"])):
        assert list(net[name].bottom) == bottoms
        assert list(net[name].eltwise_param.coeff) == [0.5, 0.5]
    trunks = [{name.removesuffix(end) for name in net if name.endswith(end) and net[name].type == "Convolution"}
              for end in ("color", "hha")]
    assert trunks[0] == trunks[1] and len(trunks[0]) == 13 + 2 + 2
    assert list(net["score"].bottom) == ["upscore16", "color"]


@pytest.mark.unit
def test_depth_is_a_fourth_channel_of_a_convolution_of_its_own_name():
    net = layers(build("nyud-fcn32s-color-d", "train"))
    assert list(net["data"].bottom) == ["color", "depth"] and list(net["conv1_1_bgrd"].bottom) == ["data"]
    tops = ast.literal_eval(net["color"].python_param.param_str)["tops"]
    assert tops == ["color", "depth", "label"] == list(net["color"].top)
    deploy = layers(build("nyud-fcn32s-color-d"))
    assert [deploy[x].input_param.shape[0].dim[1] for x in ("color", "depth")] == [3, 1]
    with pytest.raises(NetError, match="heads"):
        build("nyud-fcn32s-color-d", classes=[3, 4])


@pytest.mark.unit
def test_two_heads_share_the_trunk():
    net = layers(build("siftflow-fcn16s", "train"))
    assert list(net["loss"].bottom) == ["score_sem", "sem"] and list(net["loss_geo"].bottom) == ["score_geo", "geo"]
    for end, classes in (("_sem", 33), ("_geo", 3)):
        assert list(net[f"score_fr{end}"].bottom) == ["fc7"] and list(net[f"score_pool4{end}"].bottom) == ["pool4"]
        assert net[f"upscore16{end}"].convolution_param.num_output == classes
        assert list(net[f"score_pool4{end}c"].crop_param.offset) == [5]
    fewer = layers(build("siftflow-fcn16s", "train", classes=[4, 2]))
    assert fewer["score_fr_sem"].convolution_param.num_output == 4


@pytest.mark.unit
def test_what_the_text_compares_the_skips_with():
    alone = layers(build("fcn16s-pool4"))
    assert "fc6" not in alone and list(alone["upscore16"].bottom) == ["score_pool4"]
    assert layers(build("fcn16s-max"))["fuse_pool4"].eltwise_param.operation == 2   # MAX
    pool5 = layers(build("fcn16s-pool5"))
    assert pool5["pool5"].pooling_param.stride == 1 and list(pool5["fc6"].convolution_param.kernel_size) == [14]
    assert "fuse_pool4" not in pool5
    rates = [solver(name, "thesis", "a", "b", "c").base_lr for name in ("fcn32s", "fcn32s-lower-rate", "fcn16s")]
    assert rates[1] == rates[2] == pytest.approx(rates[0] / 100)


@pytest.mark.unit
@pytest.mark.parametrize("name", NETS)
def test_registry_entry_fits_the_net(name):
    entry = NETS[name]
    net = layers(build(name))
    assert entry.stages[-1] == name
    assert all(set(NETS[stage].stages) <= set(entry.stages[: i + 1]) for i, stage in enumerate(entry.stages))
    assert entry.heads == DATA[entry.data].heads
    assert set(entry.grown) <= set(net)
    deconvolutions = {layer.name for layer in net.values() if layer.type == "Deconvolution"}
    assert set(entry.parts.upscores) == deconvolutions
    unfilled = {
        layer.name for layer in net.values()
        if layer.type == "Convolution" and not layer.convolution_param.HasField("weight_filler")
    }
    assert set(entry.parts.scores) <= unfilled
    if entry.weights is None:  # nothing else may be left at 0
        assert set(entry.parts.scores) == unfilled


@pytest.mark.unit
def test_googlenet_has_the_57_convolutions_of_the_main_branch():
    names = [layer.name for layer in build("fcn-googlenet").layer if layer.type == "Convolution"]
    assert len(names) == 57 + 1 and names[0] == "conv1/7x7_s2" and "inception_5b/pool_proj" in names


@pytest.mark.unit
def test_other_data_and_class_count():
    data = data_layer("pictures", "train")
    net = layers(build("squeezenet-fcn8s", "train", classes=5, data=data))
    assert net["score_fr"].convolution_param.num_output == 5
    assert net["upscore8"].convolution_param.num_output == 5
    parameters = ast.literal_eval(net["data"].python_param.param_str)
    assert parameters["data"] == "pictures" and parameters["mean"] == (104, 117, 123)
    tuned = RECIPES["tuned"]["squeezenet-fcn8s"]
    assert {key: parameters[key] for key in tuned.augment} == dict(tuned.augment)
    val = layers(build("squeezenet-fcn8s", "val", data=data))["data"].python_param.param_str
    assert not set(tuned.augment) & set(ast.literal_eval(val))


@pytest.mark.unit
def test_what_the_caller_says_about_data_wins():
    data = dict(module="m", layer="D", param_str={"batch": 7, "mean": (0, 0, 0)})
    parameters = ast.literal_eval(build("small-fcn8s", "train", data=data).layer[0].python_param.param_str)
    assert (parameters["batch"], parameters["mean"]) == (7, (0, 0, 0))
    verbatim = build("small-fcn8s", "train", data=dict(module="m", layer="D", param_str="{'x': 1}"))
    assert verbatim.layer[0].python_param.param_str == "{'x': 1}"


@pytest.mark.unit
def test_solver_overrides():
    p = solver("small-fcn8s", None, "a", "b", "c", max_iter=3, test_iter=[9])
    assert (p.max_iter, list(p.test_iter), p.train_net, list(p.test_net)) == (3, [9], "a", ["b"])
    with pytest.raises(NetError, match="max_itr"):
        solver("small-fcn8s", None, "a", "b", "c", max_itr=3)


@pytest.mark.unit
@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: build("fcn4s"), "fcn8s"),
        (lambda: build("fcn8s", "test"), "deploy"),
        (lambda: build("fcn8s", recipe="tuned"), "thesis"),
        (lambda: solver("small-fcn8s", "heavy", "a", "b", "c"), "tuned"),
    ],
)
def test_wrong_names_are_refused_with_the_right_ones(call, words):
    with pytest.raises(NetError) as caught:
        call()
    assert words in str(caught.value) and "help:" in str(caught.value)
