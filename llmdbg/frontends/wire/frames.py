"""Frames on a unix socket: a kind, a length, and so many bytes. Versioned, typed, and bounded in both directions.

Each side first sends `PREAMBLE`, whose last byte is the version. A frame is a byte for its kind, four for its length
(big-endian) and its payload; no kind may be longer than `MOST_BYTES` says, and nothing is buffered beyond that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import Enum

VERSION = 3
_NAME = b"llmdbg\x00"
PREAMBLE = _NAME + bytes((VERSION,))
_HEADER = struct.Struct("!cI")


class Kind(Enum):
    """What a frame carries."""

    KEYS = b"k"
    """What was typed: bytes for the engine's terminal."""
    OUTPUT = b"o"
    """Bytes for the screen's terminal."""
    MESSAGE = b"m"
    """One message, as JSON: see `messages.py`."""


MOST_BYTES = {Kind.KEYS: 2**16, Kind.OUTPUT: 2**17, Kind.MESSAGE: 2**14}
"""The longest payload of each kind."""
_KINDS = {kind.value: kind for kind in Kind}


class FrameError(Exception):
    """What came is not a frame of this version. The message says in a few words what is wrong."""


def frame(kind: Kind, payload: bytes) -> bytes:
    """A frame. Raises ValueError if the payload is too long for its kind."""
    if len(payload) > MOST_BYTES[kind]:
        raise ValueError(f"{len(payload)} bytes in a frame of {kind.name}")
    return _HEADER.pack(kind.value, len(payload)) + payload


def frames(kind: Kind, payload: bytes) -> Iterator[bytes]:
    """As many frames as a stream of bytes takes."""
    most = MOST_BYTES[kind]
    for start in range(0, len(payload), most):
        yield frame(kind, payload[start : start + most])


class FrameReader:
    """Takes bytes as they come, in pieces of any size, and gives the frames in them."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._greeted = False

    def take(self, data: bytes) -> Iterator[tuple[Kind, bytes]]:
        """The frames that are whole now. Raises FrameError, after which nothing that follows can be understood."""
        self._held += data
        if not self._greeted:
            if not PREAMBLE.startswith(self._held[: len(PREAMBLE)]):
                raise FrameError(_not_ours(bytes(self._held)))
            if len(self._held) < len(PREAMBLE):
                return
            del self._held[: len(PREAMBLE)]
            self._greeted = True
        while len(self._held) >= _HEADER.size:
            mark, length = _HEADER.unpack_from(self._held)
            kind = _KINDS.get(mark)
            if kind is None:
                raise FrameError(f"a frame of unknown kind {mark!r}")
            if length > MOST_BYTES[kind]:
                raise FrameError(f"a frame of {kind.name} with {length:,} bytes, of at most {MOST_BYTES[kind]:,}")
            end = _HEADER.size + length
            if len(self._held) < end:
                return
            payload = bytes(self._held[_HEADER.size : end])
            del self._held[:end]
            yield kind, payload


def _not_ours(data: bytes) -> str:
    if data.startswith(_NAME):
        return f"version {data[len(_NAME)]} of the protocol, where this llmdbg speaks version {VERSION}"
    return "not llmdbg's protocol"
