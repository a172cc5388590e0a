"""The order of pictures and the background loading."""

import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from layers.feed import Order, Prefetch

pytestmark = pytest.mark.unit


@given(st.integers(1, 20), st.integers(0, 2**40), st.integers(0, 5))
def test_every_picture_once_per_epoch(count, seed, epoch):
    for shuffle in (True, False):
        order = Order(count, seed, shuffle)
        places = [order.at(epoch * count + k) for k in range(count)]
        assert {e for e, _ in places} == {epoch}
        indices = [i for _, i in places]
        assert sorted(indices) == list(range(count))
        assert shuffle or indices == sorted(indices)


def test_order_depends_on_seed_and_epoch_alone():
    def epoch(seed, n):
        return [Order(50, seed, True).at(50 * n + k)[1] for k in range(50)]

    assert epoch(1, 0) == epoch(1, 0)
    assert epoch(1, 0) != epoch(1, 1) and epoch(1, 0) != epoch(2, 0)
    jumping = Order(50, 1, True)
    assert [jumping.at(p) for p in (120, 3, 120)] == [
        (2, epoch(1, 2)[20]),
        (0, epoch(1, 0)[3]),
        (2, epoch(1, 2)[20]),
    ]


def test_pictures_draw_different_numbers():
    order = Order(5, 7, True)
    draws = {(e, i): order.generator(e, i).integers(2**60) for e in range(3) for i in range(5)}
    assert len(set(draws.values())) == 15
    assert order.generator(2, 3).integers(2**60) == draws[2, 3]


@pytest.mark.tiny
def test_next_loads_while_the_caller_works():
    started, release = threading.Event(), threading.Event()

    def load(position):
        if position == 1:
            started.set()
            assert release.wait(5)
        return position * 10, threading.current_thread()

    feed = Prefetch(load)
    assert feed.get(0)[0] == 0
    feed.start(1)
    assert started.wait(5)  # it runs although nobody has asked for the result
    release.set()
    value, thread = feed.get(1)
    assert value == 10 and thread is not threading.current_thread()
    feed.close()


def test_a_jump_forgets_what_was_begun():
    feed = Prefetch(lambda position: (time.sleep(0.01), position)[1])
    feed.start(1)
    feed.start(5)
    assert feed.get(5) == 5 and feed.get(2) == 2
    feed.close()


def test_what_loading_raises_reaches_the_caller_and_can_be_tried_again():
    tries = []

    def load(position):
        tries.append(position)
        if len(tries) == 1:
            raise ValueError("picture 3")
        return "good"

    feed = Prefetch(load)
    feed.start(3)
    with pytest.raises(ValueError, match="picture 3"):
        feed.get(3)
    assert feed.get(3) == "good"
    feed.close()
