"""`param_str` of Python layers: a Python literal or JSON dict, checked key by key and never evaluated."""

from __future__ import annotations

import ast
import difflib
import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from layers.errors import LayerError


def read_params(
    param_str: str, layer: str, known: Iterable[str], required: Iterable[str] = ()
) -> dict[str, Any]:
    """The dict in `param_str`; an empty string is an empty dict.

    `layer` is named in errors. LayerError when the text is neither a Python literal nor JSON, is not a dict,
    has a key that is not in `known` (the nearest is named) or lacks one of `required`.
    """
    known = list(known)
    params = _parse(param_str, layer)
    for key in params:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            raise LayerError(
                f"param_str has the unknown key {key!r}",
                layer=layer,
                expected=", ".join(known),
                help=f"did you mean '{near[0]}'?" if near else "remove it; no key is silently ignored",
            )
    lacking = [key for key in required if key not in params]
    if lacking:
        raise LayerError(
            f"param_str lacks {', '.join(map(repr, lacking))}",
            layer=layer,
            found=param_str or "nothing",
            help=f"for instance param_str: \"{{'{lacking[0]}': ...}}\"",
        )
    return params


def _parse(text: str, layer: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    try:
        params = json.loads(text)
    except (ValueError, RecursionError):
        try:
            params = ast.literal_eval(text.strip())
        except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:   # TypeError: {[]: 1}
            raise LayerError(
                f"param_str is neither a Python literal nor JSON ({error})",
                layer=layer,
                found=text if len(text) < 200 else text[:200] + "...",
                expected="a dict of literals, such as {'split': 'train', 'seed': 1337}",
                help="calls and names are not evaluated: write out dict(a=1) as {'a': 1}",
            ) from None
    if not isinstance(params, dict):
        raise LayerError(
            "param_str is not a dict",
            layer=layer,
            found=type(params).__name__,
            help="write {'key': value, ...}",
        )
    return params


class Reader:
    """Takes values out of a parameter dict by kind; LayerError names key, value and what is expected.

    Every method returns `default` where the key is absent.
    """

    def __init__(self, params: dict[str, Any], layer: str) -> None:
        self._params, self._layer = params, layer

    def _wrong(self, key: str, expected: str) -> LayerError:
        return LayerError(
            f"param_str: '{key}' has a wrong value",
            layer=self._layer,
            found=repr(self._params[key]),
            expected=expected,
            help=f"correct '{key}' in param_str",
        )

    def text(self, key: str, default: str = "") -> str:
        value = self._params.get(key, default)
        if not isinstance(value, str) or not value:
            raise self._wrong(key, "a text that is not empty")
        return value

    def texts(self, key: str, default: tuple[str, ...]) -> list[str]:
        value = self._params.get(key, default)
        if not isinstance(value, (list, tuple)) or not value or not all(isinstance(v, str) for v in value):
            raise self._wrong(key, "a list of names")
        return list(value)

    def means(self, key: str, names: list[str], default: dict[str, tuple[float, ...]]) -> dict[str, np.ndarray]:
        """What to subtract from each of the tops `names`: a number per channel, or {top: such numbers}."""
        value = self._params.get(key, default)
        each = value if isinstance(value, dict) else dict.fromkeys(names, value)
        expected = "three numbers: blue, green, red" if len(names) == 1 else "{top: a number for each channel}"
        if set(each) != set(names):
            raise self._wrong(key, expected)
        for numbers in each.values():
            listed = isinstance(numbers, (list, tuple)) and len(numbers) in (1, 3)
            if not listed or not all(map(_is_number, numbers)):
                raise self._wrong(key, expected)
        return {name: np.array(numbers, np.float32) for name, numbers in each.items()}

    def flag(self, key: str, default: bool) -> bool:
        value = self._params.get(key, default)
        if value not in (True, False):  # 0 and 1 too, as prototxts of 2015 have them
            raise self._wrong(key, "True or False")
        return bool(value)

    def whole(self, key: str, default: int, least: int) -> int:
        value = self._params.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self._wrong(key, f"a whole number of at least {least}")
        return value

    def whole_or_none(self, key: str, least: int) -> int | None:
        return None if self._params.get(key) is None else self.whole(key, least, least)

    def number(self, key: str, default: float, least: float) -> float:
        value = self._params.get(key, default)
        if not _is_number(value) or not least <= value < float("inf"):
            raise self._wrong(key, f"a number of at least {least}")
        return float(value)

    def number_or_none(self, key: str, least: float) -> float | None:
        return None if self._params.get(key) is None else self.number(key, least, least)

    def probability(self, key: str) -> float:
        value: Any = self._params.get(key)
        if not _is_number(value) or not 0 <= value <= 1:
            raise self._wrong(key, "a number from 0 to 1")
        return float(value)

    def probabilities(self, key: str) -> dict[int, float]:
        """{class: probability}, also from a list with an entry for each class; {} where absent."""
        value = self._params.get(key, {})
        each: Any = dict(enumerate(value)) if isinstance(value, (list, tuple)) else value
        classes = isinstance(each, dict) and all(isinstance(c, int) and 0 <= c < 255 for c in each)
        if not classes or not all(_is_number(p) and 0 <= p <= 1 for p in each.values()):
            raise self._wrong(key, "a number from 0 to 1 for each class: a list, or {class: number}")
        return each

    def numbers(self, key: str, default: tuple[float, ...], count: int, meaning: str) -> tuple[float, ...]:
        value = self._params.get(key, default)
        if not isinstance(value, (list, tuple)) or len(value) != count or not all(map(_is_number, value)):
            raise self._wrong(key, meaning)
        return tuple(float(v) for v in value)

    def size(self, key: str) -> tuple[int, int] | None:
        """(height, width) from one whole number or two; None where absent."""
        value = self._params.get(key)
        if value is None:
            return None
        pair = (value, value) if isinstance(value, int) else value
        fits = isinstance(pair, (list, tuple)) and len(pair) == 2
        if not fits or any(isinstance(v, bool) or not isinstance(v, int) or v < 1 for v in pair):
            raise self._wrong(key, "a whole number, or height and width")
        return (pair[0], pair[1])

    def span(self, key: str) -> tuple[float, float] | None:
        """(low, high) with 0 < low <= high; None where absent."""
        if self._params.get(key) is None:
            return None
        low, high = self.numbers(key, (), 2, "two numbers, low and high")
        if not 0 < low <= high:
            raise self._wrong(key, "two numbers with 0 < low <= high")
        return (low, high)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == value
