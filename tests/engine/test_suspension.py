"""A function suspended in the middle of its calls."""

import ctypes
import sys

import pytest

from llmdbg.engine.suspension import Suspension

_TORCH_LOOKS_AT = 65


def frames_of_c() -> int:
    """How many frames of C the caller's stack has."""
    found = (ctypes.c_void_p * 2000)()
    return int(ctypes.CDLL(None).backtrace(found, len(found)))


@pytest.mark.skipif(sys.platform != "linux", reason="glibc counts the frames")
def test_a_backtrace_of_torch_ends_within_the_function():
    """Below a greenlet's first frame lies its caller's stack of now: the unwinder of torch's errors crashed there."""
    inside: list[int] = []
    Suspension(lambda: inside.append(frames_of_c())).resume()
    assert inside[0] - frames_of_c() >= _TORCH_LOOKS_AT
