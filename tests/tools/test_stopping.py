"""Signals: the first is noted, the second interrupts, and earlier handlers come back."""

import os
import signal

import pytest

from tools.errors import Stopped
from tools.stopping import StopRequest

pytestmark = pytest.mark.unit


def test_first_is_noted_second_interrupts(capsys):
    before = signal.getsignal(signal.SIGINT)
    with StopRequest() as stop:
        stop.check()
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.code == 143
        with pytest.raises(Stopped) as stopped:
            stop.check()
        assert stopped.value.code == 143
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    assert "SIGTERM: stopping" in capsys.readouterr().err
