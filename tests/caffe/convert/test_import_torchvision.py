"""torchvision's nets, written here with torch.nn after its public definition and narrower, against what is imported."""
import numpy as np
import pytest
import torch
from torch import nn

import caffe
import surgery
from caffe.convert.torchvision_import import import_torchvision
from caffe.errors import CaffeError, ShapeError, WeightsError
from caffe.proto.text import load_net

pytestmark = pytest.mark.unit

IMAGENET = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
HALF = np.full(3, 0.5), np.full(3, 0.5)


class Classifier(nn.Module):
    def __init__(self, features, places, classifier):
        super().__init__()
        self.features, self.avgpool, self.classifier = features, nn.AdaptiveAvgPool2d(places), classifier

    def forward(self, x):
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def vgg16(widths=(4, 5, 6, 7, 8), places=2, classes=3):
    layers, channels = [], 3
    for width, depth in zip(widths, (2, 2, 3, 3, 3), strict=True):
        for _ in range(depth):
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(True)]
            channels = width
        layers.append(nn.MaxPool2d(2, 2))
    return Classifier(nn.Sequential(*layers), places, nn.Sequential(
        nn.Linear(channels * places**2, 9), nn.ReLU(True), nn.Dropout(), nn.Linear(9, 10), nn.ReLU(True), nn.Dropout(),
        nn.Linear(10, classes)))


def alexnet(places=2, classes=3):
    a, b, c, d, e = 5, 6, 7, 6, 4
    return Classifier(nn.Sequential(
        nn.Conv2d(3, a, 11, 4, 2), nn.ReLU(True), nn.MaxPool2d(3, 2), nn.Conv2d(a, b, 5, padding=2), nn.ReLU(True),
        nn.MaxPool2d(3, 2), nn.Conv2d(b, c, 3, padding=1), nn.ReLU(True), nn.Conv2d(c, d, 3, padding=1), nn.ReLU(True),
        nn.Conv2d(d, e, 3, padding=1), nn.ReLU(True), nn.MaxPool2d(3, 2)), places, nn.Sequential(
        nn.Dropout(), nn.Linear(e * places**2, 9), nn.ReLU(True), nn.Dropout(), nn.Linear(9, 8), nn.ReLU(True),
        nn.Linear(8, classes)))


class Block(nn.Module):
    def __init__(self, channels, width, kernel, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(channels, width, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(width, eps=0.001)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


class Inception(nn.Module):
    def __init__(self, channels, kernel5):
        super().__init__()
        self.branch1 = Block(channels, 3, 1)
        self.branch2 = nn.Sequential(Block(channels, 2, 1), Block(2, 4, 3))
        self.branch3 = nn.Sequential(Block(channels, 3, 1), Block(3, 2, kernel5))
        self.branch4 = nn.Sequential(nn.MaxPool2d(3, 1, 1, ceil_mode=True), Block(channels, 3, 1))

    def forward(self, x):
        return torch.cat([self.branch1(x), self.branch2(x), self.branch3(x), self.branch4(x)], 1)


class GoogLeNet(nn.Module):
    def __init__(self, kernel5=3, classes=3):
        super().__init__()
        self.conv1, self.conv2, self.conv3 = Block(3, 4, 7, 2), Block(4, 5, 1), Block(5, 6, 3)
        for i, name in enumerate(("3a", "3b", "4a", "4b", "4c", "4d", "4e", "5a", "5b")):
            setattr(self, f"inception{name}", Inception(12 if i else 6, kernel5))
        self.aux1, self.fc = nn.Linear(2, 2), nn.Linear(12, classes)   # evaluation does not use the first

    def forward(self, x):
        x = nn.functional.max_pool2d(self.conv1(x), 3, 2, ceil_mode=True)
        x = nn.functional.max_pool2d(self.conv3(self.conv2(x)), 3, 2, ceil_mode=True)
        x = nn.functional.max_pool2d(self.inception3b(self.inception3a(x)), 3, 2, ceil_mode=True)
        for name in "abcde":
            x = getattr(self, f"inception4{name}")(x)
        x = nn.functional.max_pool2d(x, 2, 2, ceil_mode=True)
        return self.fc(self.inception5b(self.inception5a(x)).mean((2, 3)))


def randomized(net, seed=0):
    """Weights that keep the scale of what passes through, so that a wrong layer is seen at the end."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in net.state_dict().items():
        if value.dtype == torch.float32:
            if name.endswith("running_var") or ".bn.weight" in name:
                value.uniform_(0.5, 2, generator=generator)
            else:
                fan_in = value[0].numel() if value.dim() > 1 else 4
                value.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
    return net.eval()


CASES = {   # net, input size of the check, output, preprocessing
    "vgg16": (vgg16, None, "fc8", IMAGENET), "vgg16-1": (lambda: vgg16(places=1), None, "fc8", IMAGENET),
    # 70 > 64 = 2 * 32: pooling rounds down, where Caffe would round up
    "vgg16-odd": (vgg16, (2, 3, 70, 70), "fc8", IMAGENET),
    "alexnet": (alexnet, None, "fc8", IMAGENET), "alexnet-odd": (alexnet, (1, 3, 101, 100), "fc8", IMAGENET),
    "googlenet": (GoogLeNet, (1, 3, 64, 64), "loss3/classifier", HALF),
    "googlenet-5x5-odd": (lambda: GoogLeNet(5), (2, 3, 75, 53), "loss3/classifier", HALF),
}


@pytest.mark.parametrize("bgr", [False, True])
@pytest.mark.parametrize("name", CASES)
def test_the_net_computes_what_torchvision_does(name, bgr, tmp_path):
    make, shape, output, (mean, std) = CASES[name]
    module = randomized(make())
    path = tmp_path / "net.pth"
    torch.save(module.state_dict(), path)
    imported = import_torchvision(path, bgr, shape)
    files = imported.write(tmp_path / "net")
    net = caffe.Net(files[0], caffe.TEST, weights=files[1])
    image = np.random.default_rng(3).uniform(0, 1, net.blobs["data"].shape)   # RGB in 0..1
    with torch.no_grad():
        x = (image - mean[:, None, None]) / std[:, None, None]
        expected = module(torch.from_numpy(x.astype(np.float32))).numpy()
    data = (image - mean[:, None, None])[:, ::-1] * 255 if bgr else x
    found = net.forward(data=data)[output]
    assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()
    assert imported.differences[output] < 1e-5
    assert list(net.outputs) == [output]


@pytest.mark.parametrize("name, net", [("vgg16", "fcn32s"), ("alexnet", "fcn-alexnet"), ("googlenet", "fcn-googlenet")])
def test_layers_are_named_as_caffes(name, net, tmp_path):
    torch.save(randomized(CASES[name][0]()).state_dict(), tmp_path / "net.pth")
    theirs = {layer.name for layer in load_net(f"prototxt/{net}/deploy.prototxt").param.layer
              if layer.type in ("Convolution", "Pooling") and not layer.name.startswith("score")}
    imported = import_torchvision(tmp_path / "net.pth", input_shape=CASES[name][1])
    ours = {layer.name for layer in imported.definition.layer}
    assert theirs - ours == ({"pool4/3x3_s2"} if name == "googlenet" else set())   # 2x2 in torchvision


def test_surgery_takes_the_classifier(tmp_path):
    torch.save(randomized(vgg16()).state_dict(), tmp_path / "net.pth")
    definition, weights = import_torchvision(tmp_path / "net.pth").write(tmp_path / "vgg")
    out = [str(tmp_path / name) for name in ("fcn.prototxt", "fcn.caffemodel")]
    done = surgery.convolutionalize(definition, weights, *out)
    assert done.kernels == {"fc6": (2, 2), "fc7": (1, 1), "fc8": (1, 1)}
    fcn, classifier = (caffe.Net(a, caffe.TEST, weights=b) for a, b in (out, (definition, weights)))
    report = surgery.transplant(fcn, classifier, print_report=False)
    assert {entry.layer for entry in report.coerced} == {"fc6", "fc7", "fc8"}
    assert not report.dropped and not report.left_at_filler


def test_every_format_gives_the_same_net(tmp_path):
    from safetensors.torch import save_file

    state = randomized(alexnet()).state_dict()
    torch.save(state, tmp_path / "a.pth")
    torch.save(state, tmp_path / "b.pt", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "c.safetensors")
    nets = [import_torchvision(path) for path in sorted(tmp_path.iterdir())]
    for net in nets[1:]:
        assert net.definition == nets[0].definition
        for layer, arrays in net.params.items():
            assert all(map(np.array_equal, arrays, nets[0].params[layer]))


def bad(state, **changes):
    return {**{key: value for key, value in state.items() if changes.get(key, 0) is not None},
            **{key: value for key, value in changes.items() if value is not None}}


@pytest.mark.parametrize("changes, words", [
    ({"classifier.4.bias": None}, "1 are missing: classifier.4.bias"),
    ({"features.1.running_mean": torch.zeros(5)}, "features.1.running_mean"),
    ({"features.0.weight": torch.zeros(5, 3, 7, 7)}, "features.0.weight.*another shape"),
    ({"features.3.weight": torch.zeros(6, 4, 5, 5)}, "features.3.weight.*another shape"),
    ({"features.3.bias": torch.zeros(7)}, "features.3.bias.*another shape"),
    ({"classifier.1.weight": torch.zeros(9, 17)}, "resamples the features"),
    ({"classifier.1.weight": torch.tensor(1.0)}, "holds no weights"),
    ({"features.0.weight": torch.zeros(1).expand(10**6, 10**6, 10**6)}, "claims more numbers"),
    ({"features.0.weight": torch.zeros(5, 3, 11, 11).to_sparse()}, "not dense"),
])
def test_refusals(changes, words, tmp_path):
    torch.save(bad(alexnet().state_dict(), **changes), tmp_path / "net.pth")
    with pytest.raises(CaffeError, match=words) as error:
        import_torchvision(tmp_path / "net.pth")
    assert error.value.help and str(tmp_path / "net.pth") in str(error.value)


def test_a_size_at_which_torchvision_resamples_is_refused(tmp_path):
    torch.save(vgg16().state_dict(), tmp_path / "net.pth")
    with pytest.raises(ShapeError, match="resamples the features"):
        import_torchvision(tmp_path / "net.pth", input_shape=(1, 3, 96, 96))
    for shape in ((1, 1, 64, 64), (1, 3, 64), (1, 3, 0, 64), (1, 3, 4, 4), (10**6, 3, 10**6, 10**6)):
        with pytest.raises(ShapeError):
            import_torchvision(tmp_path / "net.pth", input_shape=shape)


class Dangerous:
    def __reduce__(self):
        return (print, ("this ran",))


@pytest.mark.parametrize("content, words", [
    (Dangerous(), "nothing of it was run"), (alexnet(), "nothing of it was run"), ([1, 2], "no state dict"),
    ({"state_dict": {}}, "no state dict"), ({}, "no state dict of torchvision"),
])
def test_what_is_no_state_dict_is_refused_and_never_run(content, words, tmp_path, capsys):
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=words):
        import_torchvision(tmp_path / "net.pth")
    assert "this ran" not in capsys.readouterr().out


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_damaged_files_raise_our_errors(ending, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / f"net.{ending}"
    (torch.save if ending == "pth" else save_file)(alexnet().state_dict(), path)
    whole, draw = path.read_bytes(), np.random.default_rng(0)
    refused = 0
    for trial in range(60):
        data = bytearray(whole[:draw.integers(1, len(whole))] if trial % 4 == 0 else whole)
        for _ in range(3):
            data[draw.integers(min(len(data), 3000))] = draw.integers(256)
        path.write_bytes(data)
        try:
            import_torchvision(path)
        except CaffeError:
            refused += 1
    assert refused > 20
    with pytest.raises(WeightsError, match="is not there"):
        import_torchvision(tmp_path / f"absent.{ending}")
