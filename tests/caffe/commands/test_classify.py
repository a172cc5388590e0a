"""Classifier and `caffe classify`, on a net whose scores are 1, 2 and 3 times the mean of each input channel."""
import numpy as np
import pytest
from PIL import Image

import caffe

pytestmark = pytest.mark.unit
FACTORS = np.array([1, 2, 3])


def scores(crop):
    """What the net gives for an H x W x 3 crop."""
    return crop.mean((0, 1)) * FACTORS


def test_centre_and_oversampled(deploy):
    images = np.random.default_rng(0).random((5, 8, 9, 3)).astype(np.float32)   # more than a batch
    net = caffe.Classifier(*deploy, image_dims=(8, 9))
    centre = net.predict(images, oversample=False)
    np.testing.assert_allclose(centre, [scores(image[2:6, 1:7]) for image in images], rtol=1e-5)
    corners = [(0, 0), (0, 3), (4, 0), (4, 3), (2, 1)]   # mirroring does not change a mean
    expected = [np.mean([scores(image[y:y + 4, x:x + 6]) for y, x in corners], 0) for image in images]
    np.testing.assert_allclose(net.predict(images), expected, rtol=1e-5)


def test_preprocessing_in_pycaffes_order(deploy):
    image = np.random.default_rng(0).random((4, 6, 3)).astype(np.float32)
    net = caffe.Classifier(*deploy, mean=np.array([10, 20, 30]), raw_scale=255, channel_swap=(2, 1, 0),
                           input_scale=0.5)
    expected = scores((image[:, :, ::-1] * 255 - [10, 20, 30]) * 0.5)
    np.testing.assert_allclose(net.predict([image], oversample=False), [expected], rtol=1e-4)


def test_images_of_other_sizes_are_resized(deploy):
    flat = [np.full((height, 7, 3), 0.25, np.float32) for height in (3, 20)]
    np.testing.assert_allclose(caffe.Classifier(*deploy).predict(flat), [0.25 * FACTORS] * 2, rtol=1e-5)


@pytest.mark.parametrize("inputs, words", [
    ([], "no images"), ([np.zeros((4, 4))], "does not fit the net"), ([np.zeros((4, 4, 1))], "expected (height")])
def test_refused_inputs(deploy, inputs, words):
    with pytest.raises(caffe.CaffeError) as error:
        caffe.Classifier(*deploy).predict(inputs)
    assert words in str(error.value)


def test_image_dims_smaller_than_the_input(deploy):
    with pytest.raises(caffe.ShapeError, match="must hold the net's input"):
        caffe.Classifier(*deploy, image_dims=(3, 6))


def test_command(command, deploy, images, tmp_path):
    arrays = images(number=3, height=4, width=6)
    (tmp_path / "mean.binaryproto").write_bytes(
        caffe.io.array_to_blobproto(np.full((1, 3, 4, 6), 7.0)).SerializeToString())
    flags = ["-model_def", deploy[0], "--pretrained_model=" + deploy[1], "-images_dim", "4,6", "-center_only"]
    status, said = command("classify", "img", "folder.npy", *flags, "-ext=png", "-mean_file", "mean.binaryproto")
    assert status == 0 and "Classifying 3 inputs." in said
    bgr = arrays[..., ::-1]
    np.testing.assert_allclose(np.load("folder.npy"), [scores(a - 7.0) for a in bgr], rtol=1e-4)
    assert command("classify", "img/1.png", "one.npy", *flags)[0] == 0
    np.testing.assert_allclose(np.load("one.npy"), [scores(bgr[1])], rtol=1e-4)
    np.save("in.npy", arrays.astype(np.float32))
    np.save("mean.npy", np.array([1.0, 2, 3]))
    assert command("classify", "in.npy", "rgb.npy", *flags, "-channel_swap=", "-raw_scale=1", "-input_scale", 2,
                   "-mean_file=mean.npy")[0] == 0
    np.testing.assert_allclose(np.load("rgb.npy"), [scores(a - [1, 2, 3]) * 2 for a in arrays], rtol=1e-4)


@pytest.mark.parametrize("arguments, words", [
    (["no.jpg", "o.npy"], "no.jpg"), (["a.png", "o.npy", "-images_dim=4"], "height,width"),
    (["a.png", "o.npy", "-channel_swap=a"], "whole numbers"), (["a.png", "o.npy", "-mean_file=a.png"], "no mean"),
    ([".", "o.npy"], "no .jpg files"), (["a.png", "no/o.npy"], "cannot write"),
    (["bad.npy", "o.npy"], "holds no images"), (["bad.npy", "o.npy", "-mean_file", "bad.npy"], "no mean")])
def test_refusals(command, deploy, tmp_path, arguments, words):
    Image.new("RGB", (6, 4), (1, 2, 3)).save(tmp_path / "a.png")
    (tmp_path / "bad.npy").write_bytes(b"junk")
    flags = ["-images_dim", "4,6", "-model_def", deploy[0], "-pretrained_model", deploy[1]]
    status, said = command("classify", *flags, *arguments)
    assert status == 1 and words in said and "help:" in said
