"""Reading and writing safetensors files of a recording: no more of a file than is asked for, and nothing is believed.

A safetensors file is 8 bytes of header length (little-endian), a JSON header with each tensor's dtype, shape and byte
range, and then the bytes.
"""

from __future__ import annotations

import json
import math
import os
import stat
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmdbg.errors import TraceError
from llmdbg.files import require_regular, why_not
from llmdbg.traces.json_text import parsed

MOST_HEADER_BYTES = 64 * 2**20
_MOST_DIMENSIONS, _END = 64, 2**63
SIZES = {
    "F64": 8,
    "F32": 4,
    "F16": 2,
    "BF16": 2,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "I64": 8,
    "I32": 4,
    "I16": 2,
    "I8": 1,
    "U64": 8,
    "U32": 4,
    "U16": 2,
    "U8": 1,
    "BOOL": 1,
    "C64": 8,
}
"""Bytes of a number, by the format's dtypes."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A tensor of a file."""

    dtype: str
    """As the format writes it."""
    shape: tuple[int, ...]
    """Its shape."""
    first: int
    """Where its bytes begin, behind the header."""
    last: int
    """Where they end."""


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What a file says that it holds, checked against its size."""

    entries: dict[str, Entry]
    """Every tensor by name."""
    start: int
    """Where the header ends."""


def header_bytes(tensors: Mapping[str, tuple[str, tuple[int, ...], int]]) -> bytes:
    """The header of a file of tensors, each with its dtype, shape and number of bytes, in this order."""
    header: dict[str, Any] = {}
    at = 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text


def open_regular(path: Path) -> int:
    """A descriptor of a regular file that is no link. Raises OSError."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW)
    try:
        require_regular(os.fstat(file), path)
    except OSError:
        os.close(file)
        raise
    return file


def read_header(path: Path) -> FileHeader:
    """The header of a file, every entry of which lies within the file. Raises TraceError, naming the file."""
    try:
        file = open_regular(path)
        try:
            size = os.fstat(file).st_size
            prefix = os.pread(file, 8, 0)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
            if 8 + length > size or length > MOST_HEADER_BYTES:
                raise TraceError(f"{path} is damaged: it is truncated, or no safetensors file")
            raw = os.pread(file, length, 8)
        finally:
            os.close(file)
    except OSError as error:
        raise TraceError(f"cannot read {path}: {why_not(error)}") from error
    document = parsed(raw, path)
    if not isinstance(document, dict):
        raise TraceError(f"{path} is damaged: its header is no JSON object")
    start = 8 + length
    entries = {}
    for name, each in document.items():
        if name != "__metadata__":
            entries[name] = _entry(path, name, each, size - start)
    return FileHeader(entries, start)


def _entry(path: Path, name: str, value: Any, room: int) -> Entry:
    try:
        dtype, shape, (first, last) = value["dtype"], value["shape"], value["data_offsets"]
        sound = isinstance(dtype, str) and isinstance(shape, list) and len(shape) <= _MOST_DIMENSIONS
        sound = sound and all(type(each) is int and 0 <= each < _END for each in (first, last, *shape))
    except (KeyError, TypeError, ValueError):
        sound = False
    if not sound or dtype not in SIZES or last - first != math.prod(shape) * SIZES[dtype]:
        raise TraceError(f"{path} is damaged: its entry {name[:60]!r} makes no sense")
    if last > room:
        raise TraceError(f"{path} is truncated: {name[:60]!r} ends beyond the end of the file")
    return Entry(dtype, tuple(shape), first, last)


def is_folder(path: Path) -> bool:
    """Whether a path is a folder itself, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False
