"""The header of a GGUF file, walked within bounds: the libraries that read it believe every count in it.

A file is: magic, version, number of tensors, number of entries; the entries, each a name, a type and a value; then for
each tensor its name, dimensions, type and offset. Strings and arrays begin with their length (u64).
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path

_ARRAY, _STRING = 9, 8
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
_WHOLE = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 10: "Q", 11: "q"}
_MOST_ENTRIES, _MOST_TENSORS, _MOST_NAME, _MOST_DIMENSIONS = 100_000, 1_000_000, 65_535, 8
_MOST_LAYERS, _MOST_NUMBER, _MOST_SIZE = 10_000, 2**31, 2**50


class HeaderError(Exception):
    """The header makes no sense; the message says what of it."""


def check_header(path: Path) -> None:
    """Raise HeaderError for a header whose counts do not fit the file, or ask for more than any model has."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            _Walk(data).check()
        except struct.error as error:
            raise HeaderError("it ends within its header") from error


class _Walk:
    def __init__(self, data: mmap.mmap) -> None:
        self._data, self._at = data, 4
        # The version is small, so its bytes tell their order.
        self._order = "<" if data[4:8][2:] == b"\0\0" else ">"

    def check(self) -> None:
        """Walk the whole header."""
        self._number("I")
        tensors, entries = self._number("Q"), self._number("Q")
        if tensors > _MOST_TENSORS or entries > _MOST_ENTRIES:
            raise HeaderError(f"it counts {tensors} tensors and {entries} entries")
        for _ in range(entries):
            self._entry()
        for _ in range(tensors):
            self._tensor()

    def _entry(self) -> None:
        name, kind = self._name(), self._number("I")
        if kind in _WHOLE:
            value = self._number(_WHOLE[kind])
            most = _MOST_LAYERS if name.endswith(b".block_count") else _MOST_NUMBER
            # A seed or a date may be any number.
            if not name.startswith((b"general.", b"tokenizer.")) and value > most:
                raise HeaderError(f"it says {name.decode('utf-8', 'replace')} is {value}")
        else:
            self._skip_value(kind)

    def _skip_value(self, kind: int, *, inner: bool = False) -> None:
        if kind in _SIZES:
            self._skip(_SIZES[kind])
        elif kind == _STRING:
            self._skip(self._number("Q"))
        elif kind == _ARRAY and not inner:
            self._skip_array(self._number("I"), self._number("Q"))
        else:
            raise HeaderError(f"it has an entry of type {kind}")

    def _skip_array(self, kind: int, count: int) -> None:
        if kind in _SIZES:
            self._skip(count * _SIZES[kind])
            return
        for _ in range(count):
            self._skip_value(kind, inner=True)

    def _tensor(self) -> None:
        self._name()
        dimensions = self._number("I")
        if dimensions > _MOST_DIMENSIONS:
            raise HeaderError(f"it has a tensor of {dimensions} dimensions")
        size = 1
        for _ in range(dimensions):
            size *= self._number("Q")
        if size > _MOST_SIZE:
            raise HeaderError(f"it has a tensor of {size} values")
        self._skip(4 + 8)

    def _name(self) -> bytes:
        length = self._number("Q")
        if length > _MOST_NAME:
            raise HeaderError(f"it has a name of {length} bytes")
        self._skip(length)
        return self._data[self._at - length : self._at]

    def _number(self, code: str) -> int:
        size = struct.calcsize(code)
        value: int = struct.unpack_from(self._order + code, self._data, self._at)[0]
        self._at += size
        return value

    def _skip(self, count: int) -> None:
        self._at += count
        if self._at > len(self._data):
            raise HeaderError("it ends within its header")
