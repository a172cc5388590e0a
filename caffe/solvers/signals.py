"""Ctrl-C and SIGHUP during training: handlers that only take a note, which the solver asks for when safe."""
from __future__ import annotations

import signal
from types import FrameType, TracebackType
from typing import Any

from ..errors import CaffeError

EFFECTS = ("snapshot", "stop", "none")


class SignalHandler:
    """Context manager that turns SIGINT and SIGHUP into requests: "stop", "snapshot" or "none".

    `requested()` returns the request that came since it was last asked, or "none"; SIGHUP comes first, as in
    Caffe. A second SIGINT before the first was answered, or after "stop" was asked for, raises
    KeyboardInterrupt at once. The handlers that were there before come back at the end. Main thread only.
    """

    def __init__(self, sigint: str = "stop", sighup: str = "snapshot") -> None:
        for flag, effect in (("sigint_effect", sigint), ("sighup_effect", sighup)):
            if effect not in EFFECTS:
                raise CaffeError(f"-{flag} has no such effect", found=effect, expected=" or ".join(EFFECTS),
                                 help="stop snapshots too, unless snapshot_after_train is false")
        self.sigint, self.sighup = sigint, sighup
        self._got_sigint = self._got_sighup = self._stopping = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalHandler:
        self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._on_sigint)
        if hasattr(signal, "SIGHUP"):   # not on Windows
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._on_sighup)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            # None: a handler that Python did not install and cannot put back
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        self._before.clear()

    def _on_sigint(self, number: int, frame: FrameType | None) -> None:
        if self._got_sigint or self._stopping:
            raise KeyboardInterrupt
        self._got_sigint = True

    def _on_sighup(self, number: int, frame: FrameType | None) -> None:
        self._got_sighup = True

    def requested(self) -> str:
        """"stop", "snapshot" or "none"; a request is handed out once."""
        effect = "none"
        if self._got_sighup:
            self._got_sighup, effect = False, self.sighup
        elif self._got_sigint:
            self._got_sigint, effect = False, self.sigint
        self._stopping |= effect == "stop"
        return effect
