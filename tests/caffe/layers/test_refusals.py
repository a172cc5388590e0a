"""Parameters and shapes that no layer can use: one typed error that names the layer, says why and what to do."""
import numpy as np
import pytest

import caffe

pytestmark = pytest.mark.unit
X = (2, 4, 5, 6)

REFUSED = [
    ("Convolution", "kernel_size must be given", "convolution_param { num_output: 2 }", [X]),
    ("Convolution", "kernel_size must be positive", "convolution_param { num_output: 2 kernel_size: 0 }", [X]),
    ("Convolution", "stride must be positive", "convolution_param { num_output: 2 kernel_size: 3 stride: 0 }", [X]),
    ("Convolution", "num_output and group", "convolution_param { kernel_size: 3 }", [X]),
    ("Convolution", "multiple of group", "convolution_param { num_output: 2 kernel_size: 3 group: 3 }", [X]),
    ("Convolution", "multiple of group", "convolution_param { num_output: 3 kernel_size: 3 group: 2 }", [X]),
    ("Convolution", "has kernel_size and kernel_h",
     "convolution_param { num_output: 2 kernel_size: 3 kernel_h: 3 kernel_w: 3 }", [X]),
    ("Convolution", "two spatial axes", "convolution_param { num_output: 2 kernel_h: 3 kernel_w: 3 }", [(2, 3, 4)]),
    ("Convolution", "3 times", "convolution_param { num_output: 2 kernel_size: [3, 3, 3] }", [X]),
    ("Convolution", "output would be empty", "convolution_param { num_output: 2 kernel_size: 9 }", [X]),
    ("Convolution", "axis 7 is out of range", "convolution_param { num_output: 2 kernel_size: 3 axis: 7 }", [X]),
    ("Convolution", "as many tops as bottoms", "convolution_param { num_output: 2 kernel_size: 3 }", [X, X]),
    ("Convolution", "bottom 1 differs",
     'top: "a" top: "b" convolution_param { num_output: 2 kernel_size: 3 }', [X, (2, 4, 5, 5)]),
    ("Convolution", "more spatial axes", "convolution_param { num_output: 2 kernel_size: 1 }", [(1,) * 6]),
    ("Convolution", "unknown filler", 'convolution_param { num_output: 2 kernel_size: 3 weight_filler { type: "x" } }',
     [X]),
    ("Deconvolution", "bilinear", 'convolution_param { num_output: 2 kernel_h: 3 kernel_w: 2 '
     'weight_filler { type: "bilinear" } }', [X]),
    ("InnerProduct", "num_output", "", [X]),
    ("Pooling", "needs a kernel", "", [X]),
    ("Pooling", "pad must be smaller", "pooling_param { kernel_size: 2 pad: 2 }", [X]),
    ("Pooling", "four axes", "pooling_param { kernel_size: 2 }", [(2, 3, 4)]),
    ("Pooling", "global_pooling", "pooling_param { kernel_size: 2 global_pooling: true }", [X]),
    ("Pooling", "kernel_h and kernel_w", "pooling_param { kernel_h: 2 }", [X]),
    ("Pooling", "stride must be positive", "pooling_param { kernel_size: 2 stride: 0 }", [X]),
    ("Pooling", "no padding", "pooling_param { pool: STOCHASTIC kernel_size: 2 pad: 1 }", [X]),
    ("LRN", "must be odd", "lrn_param { local_size: 4 }", [X]),
    ("LRN", "four axes", "", [(2, 3)]),
    ("Dropout", "probability", "dropout_param { dropout_ratio: 1 }", [X]),
    ("Concat", "bottom 1 does not fit", "", [(2, 3), (3, 3)]),
    ("Concat", "axis and concat_dim", "concat_param { axis: 1 concat_dim: 1 }", [(2, 3), (2, 3)]),
    ("Slice", "does not divide evenly", 'top: "a" top: "b"', [(2, 3)]),
    ("Slice", "slice points must grow", 'top: "a" top: "b" top: "c" slice_param { slice_point: [2, 1] }', [(2, 3)]),
    ("Slice", "one slice_point less", 'top: "a" top: "b" slice_param { slice_point: [1, 2] }', [(2, 3)]),
    ("Eltwise", "coeff must be given once per bottom", "eltwise_param { coeff: 1 }", [(2,), (2,)]),
    ("Eltwise", "SUM only", "eltwise_param { operation: PROD coeff: [1, 1] }", [(2,), (2,)]),
    ("Eltwise", "bottom 1 differs", "", [(2,), (3,)]),
    ("Split", "in place", 'bottom: "a" top: "a" top: "b"', [(2,)]),
    ("Flatten", "in place", 'bottom: "a" top: "a"', [X]),
    ("Flatten", "behind end_axis", "flatten_param { axis: 2 end_axis: 1 }", [X]),
    ("Reshape", "count would change", "reshape_param { shape { dim: [4, 2] } }", [(2, 3)]),
    ("Reshape", "cannot be inferred", "reshape_param { shape { dim: [4, -1] } }", [(2, 3)]),
    ("Reshape", "one -1", "reshape_param { shape { dim: [-1, -1] } }", [(2, 3)]),
    ("Reshape", "no axis of the bottom", "reshape_param { shape { dim: [0, 0, 0] } }", [(2, 3)]),
    ("Reshape", "axis 3 is out of range", "reshape_param { axis: 3 shape { dim: 1 } }", [(2, 3)]),
    ("Reshape", "num_axes is out of range", "reshape_param { axis: 1 num_axes: 2 shape { dim: 1 } }", [(2, 3)]),
    ("Crop", "leaves bottom 0", "crop_param { offset: 2 }", [(1, 2, 5, 5), (1, 2, 4, 4)]),
    ("Crop", "once per cropped axis", "crop_param { offset: [0, 0, 0] }", [(1, 2, 5, 5), (1, 2, 4, 4)]),
    ("Scale", "does not match the axes", "", [(2, 4), (3,)]),
    ("Bias", "num_axes is out of range", "bias_param { num_axes: 5 }", [(2, 4)]),
    ("SoftmaxWithLoss", "one label per prediction", "", [X, (2,)]),
    ("SoftmaxWithLoss", "different first axes", "softmax_param { axis: 0 }", [(4, 3), (3,)]),
    ("SigmoidCrossEntropyLoss", "one target per logit", "", [(4, 3), (4, 2)]),
    ("EuclideanLoss", "different sizes", "", [(4, 3), (4, 2)]),
    ("EuclideanLoss", "at most four axes", "", [(1,) * 5, (1,) * 5]),
    ("HingeLoss", "different first axes", "", [(4, 3), (3,)]),
    ("HingeLoss", "one label per item", "", [(4, 3), (4, 2)]),
    ("ContrastiveLoss", "two blobs of vectors", "", [(2, 3), (2, 4), (2,)]),
    ("InfogainLoss", "needs a matrix H", "", [(2, 4), (2,)]),
    ("InfogainLoss", "classes x classes", "", [(2, 4), (2,), (3, 3)]),
    ("InfogainLoss", "normalize", "loss_param { normalize: true }", [(2, 4), (2,), (4, 4)]),
    ("Accuracy", "top_k", "accuracy_param { top_k: 5 }", [(2, 4), (2,)]),
    ("Accuracy", "one label per prediction", "", [(2, 4), (3,)]),
    ("ArgMax", "top_k is out of range", "argmax_param { top_k: 5 }", [(2, 4)]),
    ("Log", "base must be positive", "log_param { base: -3 }", [X]),
    ("Exp", "base must be positive", "exp_param { base: 0 }", [X]),
    ("PReLU", "two to four axes", "", [(1,) * 5]),
    ("Tile", "tiles must be given", "", [(2, 3)]),
    ("BatchNorm", "channel axis", "", [(3,)]),
    ("BatchNorm", "not learned", "param { lr_mult: 1 }", [X]),
    ("BatchReindex", "one axis", "", [(3, 2), (2, 1)]),
    ("Filter", "different batch sizes", "", [(3, 2), (2,)]),
    ("Filter", "one number per item", "", [(3, 2), (3, 2)]),
    ("Filter", "one top less", 'top: "a" top: "b"', [(3, 2), (3,)]),
    ("Embed", "input_dim", "embed_param { num_output: 2 }", [(3,)]),
    ("SPP", "too small", "spp_param { pyramid_height: 4 }", [X]),
    ("SPP", "pyramid_height", "", [X]),
    ("LSTM", "timesteps by streams", "recurrent_param { num_output: 3 }", [(4, 2, 3), (3, 2)]),
    ("RNN", "num_output", "", [(4, 2, 3), (4, 2)]),
    ("LSTMUnit", "do not fit each other", 'top: "a" top: "b"', [(1, 2, 3), (1, 2, 9), (1, 2)]),
    ("Input", "once, or once per top", 'top: "a" top: "b" top: "c" input_param { shape { } shape { } }', []),
    ("MemoryData", "must be given and positive", 'top: "a" top: "b" memory_data_param { batch_size: 2 }', []),
    ("DummyData", "data_filler", 'top: "a" dummy_data_param { shape { } data_filler { } data_filler { } }', []),
    ("DummyData", "shape must be given", 'top: "a"', []),
    ("HDF5Data", "batch_size", 'top: "a" hdf5_data_param { source: "x" }', []),
]


@pytest.mark.parametrize("kind, says, setting, shapes", REFUSED, ids=[f"{k}-{s[:28]}" for k, s, *_ in REFUSED])
def test_refused(bench, kind, says, setting, shapes):
    with pytest.raises(caffe.CaffeError, match=says) as e:
        bench(f'type: "{kind}" {setting}', *shapes)
    assert e.value.layer == "it" and "net.prototxt:7" in str(e.value)
    assert e.value.help, e.value


@pytest.mark.parametrize("kind, setting, shape, other", [
    ("Convolution", "convolution_param { num_output: 2 kernel_size: 3 }", X, (2, 5, 5, 6)),
    ("InnerProduct", "inner_product_param { num_output: 2 }", X, (2, 4, 5, 7)),
    ("PReLU", "", X, (2, 5, 5, 6)), ("BatchNorm", "", X, (2, 5, 5, 6)), ("Scale", "", X, (2, 5, 5, 6)),
    ("Im2col", "convolution_param { kernel_size: 3 }", X, (2, 5, 5, 6)),
])
def test_a_bottom_that_stops_fitting_the_weights(bench, kind, setting, shape, other):
    it = bench(f'type: "{kind}" {setting}', shape)
    it.bottom[0].reshape(*other)
    with pytest.raises(caffe.ShapeError) as e:
        it.forward()
    assert e.value.found is not None and e.value.expected is not None


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "Accuracy"])
@pytest.mark.parametrize("bad", [-1, 4, 255, np.nan])
def test_label_out_of_range_says_value_place_and_classes(bench, kind, bad):
    label = np.zeros((2, 5, 6), np.float32)
    label[1, 3, 2] = bad
    it = bench(f'type: "{kind}"', X, label)
    with pytest.raises(caffe.DataError, match=f"label {bad:g} is out of range") as e:
        it.forward()
    assert "(1, 3, 2)" in str(e.value) and "0 to 3" in str(e.value) and e.value.layer == "it" and e.value.help


def test_ignored_labels_are_no_error(bench):
    label = np.full((2, 5, 6), 255, np.float32)
    label[0] = 3
    loss, = bench('type: "SoftmaxWithLoss" loss_param { ignore_label: 255 }', X, label).forward()
    assert float(loss) == pytest.approx(np.log(4))


@pytest.mark.parametrize("kind", ["HingeLoss", "MultinomialLogisticLoss", "InfogainLoss"])
def test_label_out_of_range_in_other_losses(bench, kind):
    third = [(3, 3)] if kind == "InfogainLoss" else []
    with pytest.raises(caffe.DataError, match="label 3 is out of range"):
        bench(f'type: "{kind}"', (2, 3), np.float32([0, 3]), *third).forward()


@pytest.mark.parametrize("kind, setting", [
    ("Embed", "embed_param { num_output: 2 input_dim: 3 }"), ("BatchReindex", "")])
def test_index_out_of_range(bench, kind, setting):
    bottoms = [np.float32([0, 3])] if kind == "Embed" else [(3, 2), np.float32([0, 3])]
    with pytest.raises(caffe.DataError, match="index is out of range"):
        bench(f'type: "{kind}" {setting}', *bottoms).forward()


@pytest.mark.parametrize("kind, shapes", [("Threshold", [(2,)]), ("ArgMax", [(2, 3)]), ("Accuracy", [(2, 3), (2,)])])
def test_no_backward_pass(bench, kind, shapes):
    it = bench(f'type: "{kind}"', *shapes)
    it.forward()
    it.layer.backward(it.top, [False] * len(shapes), it.bottom)
    with pytest.raises(caffe.LayerError, match="no backward pass"):
        it.layer.backward(it.top, [True] * len(shapes), it.bottom)


@pytest.mark.parametrize("kind", ["SoftmaxWithLoss", "SigmoidCrossEntropyLoss"])
def test_labels_get_no_diff(bench, kind):
    it = bench(f'type: "{kind}"', (2, 3), (2, 3) if kind.startswith("Sig") else (2,))
    it.forward()
    with pytest.raises(caffe.LayerError, match="cannot propagate a diff to bottom 1 'b1'|bottom 1 .'b1'."):
        it.layer.backward(it.top, [True, True], it.bottom)
