"""Damages an input in the ways that files get damaged, and in the ways that somebody would damage one."""
from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Any

NUMBERS = (0, -1, 1, 2, 3, 127, 255, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**63 - 1, 2**63, 2**64 - 1, 10**30)
MAX_LENGTH = 1 << 20
_NUMBER = re.compile(rb"-?\d+")
_WORD = re.compile(rb"[A-Za-z_]{2,}")
FLOATS = (0.0, -1.0, 0.5, 1e-45, 3e38, -3e38, float("nan"), float("inf"))
_OPEN = (b"layer { ", b"{ ", b"< ", b"[", b"((", b'{"a":', b"\x0a\xff\x7f", b"\xa2\x06\x80\x01", b"\x0b")


class Mutator:
    """Seeded: the same seed, corpus and words give the same inputs in the same order.

    `corpus` are the sound inputs, `words` what may take the place of a word in them. With `messages` (protobuf) half
    of the inputs have sound syntax and odd values: `encode` makes the input of such a message.
    """

    def __init__(self, corpus: Sequence[bytes], words: Sequence[bytes] = (), seed: int = 0,
                 messages: Sequence[Any] = (), encode: Callable[[Any], bytes] = bytes) -> None:
        self.corpus, self.words = list(corpus), list(words)
        self.messages, self.encode = list(messages), encode
        self.random = random.Random(seed)
        self._ways: list[Callable[[bytearray], bytearray]] = [
            self._flip, self._flip, self._byte, self._cut_end, self._cut_out, self._insert, self._repeat,
            self._splice, self._number, self._number, self._varint, self._nest, self._word, self._word]

    def next(self) -> bytes:
        """The next input: random bytes once in a while, else a sound input damaged one to six times."""
        if self.messages and self.random.random() < 0.5:
            original = self.random.choice(self.messages)
            message = type(original)()
            message.CopyFrom(original)
            for _ in range(self.random.choice((1, 1, 2, 4))):
                self._vary(message)
            return self.encode(message)
        if self.random.random() < 0.02:
            return self.random.randbytes(self.random.choice((0, 1, 8, 100, 1000)))
        data = bytearray(self.random.choice(self.corpus))
        for _ in range(self.random.choice((1, 1, 1, 2, 3, 6))):
            data = self.random.choice(self._ways)(data)[:MAX_LENGTH]
        return bytes(data)

    def _vary(self, message: Any) -> None:
        """Give one field, of this message or of one in it, another value."""
        present = message.ListFields()
        inside = [value for field, value in present if field.message_type is not None]
        if inside and self.random.random() < 0.8:
            below = self.random.choice(inside)
            if not hasattr(below, "add"):
                return self._vary(below)
            if len(below) and self.random.random() < 0.9:
                return self._vary(self.random.choice(below))
        known = [field for field, _ in present]
        field = self.random.choice(known if known and self.random.random() < 0.5 else message.DESCRIPTOR.fields)
        value = getattr(message, field.name)
        if field.message_type is not None:
            if hasattr(value, "add"):
                value.add()
            else:
                value.SetInParent()
            return None
        try:
            if hasattr(value, "append"):
                if len(value) and self.random.random() < 0.3:
                    value.pop()
                else:
                    value.extend([self._value(field)] * self.random.choice((1, 1, 2, 40)))
            else:
                setattr(message, field.name, self._value(field))
        except (ValueError, TypeError, OverflowError):   # too large for the type of the field: leave it
            pass

    def _value(self, field: Any) -> Any:
        if field.enum_type is not None:
            return self.random.choice(field.enum_type.values).number
        if field.cpp_type in (field.CPPTYPE_FLOAT, field.CPPTYPE_DOUBLE):
            return self.random.choice(FLOATS)
        if field.cpp_type == field.CPPTYPE_STRING:
            word = self.random.choice(self.words or [b"x"])
            return word if field.type == field.TYPE_BYTES else word.decode()
        return self.random.choice(NUMBERS)

    def _at(self, data: bytearray) -> int:
        return self.random.randrange(len(data) + 1)

    def _slice(self, data: bytearray, longest: int = 64) -> tuple[int, int]:
        start = self._at(data)
        return start, min(len(data), start + self.random.randint(1, longest))

    def _flip(self, data: bytearray) -> bytearray:
        if data:
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
        return data

    def _byte(self, data: bytearray) -> bytearray:
        if data:
            data[self.random.randrange(len(data))] = self.random.choice((0, 1, 0x7F, 0x80, 0xFF, 10, 34, 123))
        return data

    def _cut_end(self, data: bytearray) -> bytearray:
        return data[: self._at(data)]

    def _cut_out(self, data: bytearray) -> bytearray:
        start, end = self._slice(data)
        return data[:start] + data[end:]

    def _insert(self, data: bytearray) -> bytearray:
        at = self._at(data)
        return data[:at] + self.random.randbytes(self.random.choice((1, 2, 4, 16))) + data[at:]

    def _repeat(self, data: bytearray) -> bytearray:
        start, end = self._slice(data)
        return data[:end] + data[start:end] * self.random.choice((1, 2, 10, 100, 1000)) + data[end:]

    def _splice(self, data: bytearray) -> bytearray:
        other = bytearray(self.random.choice(self.corpus))
        return data[: self._at(data)] + other[self._at(other) :]

    def _number(self, data: bytearray) -> bytearray:
        """Another number in the place of one that is written in digits, or in binary."""
        value = self.random.choice(NUMBERS)
        found = list(_NUMBER.finditer(data))
        if found and self.random.random() < 0.8:
            match = self.random.choice(found)
            return data[: match.start()] + str(value).encode() + data[match.end() :]
        at, size = self._at(data), self.random.choice((1, 2, 4, 8))
        return data[:at] + (value % 256**size).to_bytes(size, "little") + data[at + size :]

    def _varint(self, data: bytearray) -> bytearray:
        """A protobuf varint of another size in the place of a byte."""
        at, value = self._at(data), self.random.choice(NUMBERS) % 2**64
        encoded = bytearray()
        while value > 0x7F:
            encoded.append(value & 0x7F | 0x80)
            value >>= 7
        return data[:at] + encoded + bytes([value]) + data[at + 1 :]

    def _nest(self, data: bytearray) -> bytearray:
        at = self._at(data)
        return data[:at] + self.random.choice(_OPEN) * self.random.choice((1, 10, 99, 101, 5000)) + data[at:]

    def _word(self, data: bytearray) -> bytearray:
        found = list(_WORD.finditer(data))
        if not found or not self.words:
            return self._flip(data)
        match = self.random.choice(found)
        return data[: match.start()] + self.random.choice(self.words) + data[match.end() :]
