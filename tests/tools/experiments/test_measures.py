"""What follows from the nets alone, and the readings of the thesis (docs/errata.md) that decide numbers."""

import pytest

from prototxt import build, measure
from tools.experiments.measures import classifiers
from tools.experiments.registry import Context
from tools.experiments.timing import GRID, SIZE, _classifier
from tools.experiments.voc_server import OTHERS

pytestmark = pytest.mark.unit


def test_table_3_1_shows_where_it_differs(tmp_path):
    result = classifiers(Context(tmp_path))
    rows = result.tables[0].rows
    assert [ours for _, ours in rows["fcn-alexnet"]] == [8, 57, 355, 32]
    assert [ours for _, ours in rows["fcn32s"]] == [16, 134, 404, 32]
    assert [ours for _, ours in rows["fcn-googlenet"]] == [22, 6, 715, 32]   # 907 with the pooling that was dropped
    assert [holds for *_, holds in result.claims] == [True, False] and result.claims[1][1].startswith("715; 907 with")


def test_alexnet_gives_ten_by_ten_for_500_pixels(tmp_path):
    """3.2.1 is right: pooling rounds up, which (500 - 227) / 32 = 8.5 does not show."""
    assert SIZE == 500
    net = _classifier(tmp_path / "net.prototxt", 1, SIZE)
    for size in (499, SIZE, 516):
        net.blobs["data"].reshape(1, 3, size, size)
        net.reshape()
        assert net.blobs["score_fr"].shape[2:] == (GRID, GRID)


def test_a_kernel_of_13_keeps_the_receptive_field_not_one_of_14():
    """3.3.3: pool5 at stride 1."""
    fields = {kernel: measure(build("fcn16s-pool5", fc6_kernel=kernel)).receptive_field for kernel in (13, 14)}
    assert fields == {13: measure(build("fcn32s")).receptive_field, 14: 420}


def test_relative_improvement_of_3_4_2():
    assert 62.7 / OTHERS["SDS"][0] == pytest.approx(1.192, abs=1e-3)
    assert 62.2 / OTHERS["SDS"][1] == pytest.approx(1.205, abs=1e-3)
