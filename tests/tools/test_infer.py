"""infer.py: palette PNGs with the right indices, overlays, scores; any sizes; errors that name the file."""

import numpy as np
import pytest
from PIL import Image

import caffe
from data.palette import voc_palette
from tools import infer

pytestmark = pytest.mark.unit

# score k is channel k of BGR: class 0 where blue is strongest, 1 green, 2 red
IDENTITY = """
layer { name: "data" type: "Input" top: "data" input_param { shape { dim: 1 dim: 3 dim: 8 dim: 8 } } }
layer { name: "score" type: "Convolution" bottom: "data" top: "score"
        convolution_param { num_output: 3 kernel_size: 1 } }
"""


@pytest.fixture
def files(tmp_path):
    """The arguments that name the identity net."""
    (tmp_path / "net.prototxt").write_text(IDENTITY)
    net = caffe.Net(str(tmp_path / "net.prototxt"), caffe.TEST)
    net.params["score"][0].data[...] = np.eye(3)[:, :, None, None]
    net.save(str(tmp_path / "net.caffemodel"))
    return ["--net", str(tmp_path / "net.prototxt"), "--weights", str(tmp_path / "net.caffemodel")]


def photo(path, labels):
    """An image whose strongest channel tells the class: 0 blue, 1 green, 2 red."""
    path.parent.mkdir(exist_ok=True)
    colours = np.array([[0, 0, 200], [0, 200, 0], [200, 0, 0]], np.uint8)
    Image.fromarray(colours[labels]).save(path)
    return labels


def test_images_of_any_size(files, tmp_path, capsys):
    random = np.random.default_rng(0)
    wanted = {name: photo(tmp_path / "in" / f"{name}.png", random.integers(0, 3, shape))
              for name, shape in (("a", (7, 11)), ("b", (20, 3)))}
    out = tmp_path / "out"
    arguments = [str(tmp_path / "in"), "--out", str(out), "--mean", "0,0,0", "--scores", *files]
    assert infer.main(arguments) == 0
    for name, labels in wanted.items():
        with Image.open(out / f"{name}.png") as image:
            assert image.mode == "P"
            assert image.getpalette()[:63] == voc_palette()[:21].ravel().tolist()
            assert np.array_equal(np.array(image), labels)
        with Image.open(out / f"{name}-overlay.png") as image:
            assert image.mode == "RGB" and image.size == labels.shape[::-1]
        score = np.load(out / f"{name}-scores.npz")["score"]
        assert score.dtype == np.float32 and score.shape == (3, *labels.shape)
        assert np.array_equal(score.argmax(0), labels) and score.max() == 200
    assert "2 of 2 images segmented" in capsys.readouterr().out


def test_the_mean_is_subtracted(files, tmp_path):
    photo(tmp_path / "a.png", np.zeros((4, 4), int))
    infer.main([str(tmp_path / "a.png"), "--out", str(tmp_path), "--mean", "1,2,3", "--scores", *files])
    assert np.load(tmp_path / "a-scores.npz")["score"][:, 0, 0].tolist() == [199, -2, -3]


def test_an_unreadable_image_is_named_and_the_others_go_on(files, tmp_path, capsys):
    photo(tmp_path / "in" / "b.png", np.zeros((4, 4), int))
    (tmp_path / "in" / "a.jpg").write_text("<html>not found</html>")
    assert infer.main([str(tmp_path / "in"), "--out", str(tmp_path / "out"), *files]) == 1
    captured = capsys.readouterr()
    assert "a.jpg" in captured.err and "not a readable image" in captured.err
    assert "1 of 2 images" in captured.out and (tmp_path / "out" / "b.png").exists()


def test_a_run_folder(whole_run, tiny_set, tmp_path, capsys):
    """The last stage's prediction, in the data set's colours, is the one the run itself kept."""
    folder, _ = whole_run
    image = tiny_set / "JPEGImages" / "v2.png"
    assert infer.main([str(image), "--run", str(folder.root), "--out", str(tmp_path)]) == 0
    kept = folder.predictions / "small-fcn8s" / "v2.png"
    with Image.open(tmp_path / "v2.png") as ours, Image.open(kept) as theirs:
        assert np.array_equal(np.array(ours), np.array(theirs))
    assert "ground" in capsys.readouterr().out
    assert infer.main([str(image), "--run", str(folder.root), "--out", str(tmp_path), "--stage", "32s"]) == 0


def test_weights_of_another_stage(whole_run, tiny_set, tmp_path, capsys):
    """Caffe would leave the skips' scores at their fillers and say nothing."""
    folder, records = whole_run
    files = ["--net", str(folder.net("small-fcn8s", "deploy")),
             "--weights", str(folder.root / records["small-fcn32s"]["weights"])]
    assert infer.main([str(tiny_set / "JPEGImages"), "--out", str(tmp_path / "out"), *files]) == 1
    assert "not the weights of this net" in capsys.readouterr().err


def test_val_prototxt_is_refused(whole_run, tiny_set, tmp_path, capsys):
    folder, records = whole_run
    files = ["--net", str(folder.net("small-fcn8s", "val")),
             "--weights", str(folder.root / records["small-fcn8s"]["weights"])]
    assert infer.main([str(tiny_set / "JPEGImages"), "--out", str(tmp_path / "out"), *files]) == 1
    assert "give the deploy prototxt" in capsys.readouterr().err


@pytest.mark.parametrize(("images", "more", "words"), [
    (["nowhere.png"], [], "nowhere.png: no image here"),
    (["empty"], [], "empty: no image here"),
    (["in/a.png", "again/a.png"], [], "one name"),
    (["in/a.png"], ["--mean", "1,2"], "three numbers"),
    (["in/a.png"], ["--weights", "no.caffemodel"], "no.caffemodel: there is no such file"),
    (["in/a.png"], ["--run", "in"], "--run already says"),
])
def test_what_is_wrong_is_said(images, more, words, files, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "in" / "a.png", np.zeros((4, 4), int))
    photo(tmp_path / "again" / "a.png", np.zeros((4, 4), int))
    (tmp_path / "empty").mkdir()
    assert infer.main([*images, *files, *more]) == 1
    error = capsys.readouterr().err
    assert words in error and "help: " in error


def test_no_net_at_all(tmp_path, capsys):
    assert infer.main(["x.png"]) == 1
    assert "which net?" in capsys.readouterr().err
    assert infer.main(["x.png", "--run", str(tmp_path)]) == 1
    assert "there is no run in this folder" in capsys.readouterr().err
