"""Score layers of more classes: old classes keep their scores, new ones what they had."""

import numpy as np
import pytest

from surgery import expand_score
from surgery.errors import LayerError, ShapeError

SCORE = "score Convolution data convolution_param {{ num_output: {} kernel_size: 1 }}"


@pytest.mark.unit
def test_old_classes_score_as_before(make_net):
    old, new = make_net(SCORE.format(3), (1, 4, 2, 2)), make_net(SCORE.format(5), (1, 4, 2, 2), seed=1)
    before = [blob.data.copy() for blob in new.params["score"]]
    expand_score(new, "score", old, "score")
    for blob, kept in zip(new.params["score"], before, strict=True):
        assert (blob.data[3:] == kept[3:]).all() and not (blob.data[:3] == kept[:3]).any()
    image = np.random.default_rng(2).normal(size=(1, 4, 2, 2))
    np.testing.assert_allclose(
        new.forward(data=image)["score"][:, :3], old.forward(data=image)["score"], rtol=1e-5, atol=1e-5
    )


@pytest.mark.unit
@pytest.mark.parametrize(("classes", "channels"), [(2, 4), (5, 3)])
def test_fewer_classes_or_other_features_are_refused(make_net, classes, channels):
    old, new = make_net(SCORE.format(3), (1, 4, 2, 2)), make_net(SCORE.format(classes), (1, channels, 2, 2))
    with pytest.raises(ShapeError, match="score"):
        expand_score(new, "score", old, "score")


@pytest.mark.unit
def test_a_missing_layer_is_named(make_net):
    net = make_net(SCORE.format(3), (1, 4, 2, 2))
    with pytest.raises(LayerError, match="scores"):
        expand_score(net, "score", net, "scores")
