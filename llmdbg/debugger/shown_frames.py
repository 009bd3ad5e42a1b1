"""Which Python frames are shown: not llmdbg's own, nor those that only pass a call on."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import CodeType

_OURS = f"{Path(__file__).parents[1]}/"
_PASSES_ON = ("torch/nn/modules/module.py", "torch/utils/_contextlib.py")
_DECORATING = ("torch", "transformers")


def is_left_out(code: CodeType) -> bool:
    """Whether a frame of this code is not shown: llmdbg's, torch's `Module.__call__`, a decorator's."""
    file = code.co_filename
    if file.startswith((_OURS, "<frozen ")) or file.endswith(_PASSES_ON):
        return True
    return "<locals>" in code.co_qualname and file.startswith(tuple(map(_folders, _DECORATING)))


def is_of_torch(code: CodeType) -> bool:
    """Whether it is torch's own code."""
    return code.co_filename.startswith(_folders("torch"))


@cache
def _folders(package: str) -> str:
    """The folder of a package; of one that is not installed, one that no file is in."""
    found = find_spec(package)
    (path, *_) = (found and found.submodule_search_locations) or ("\0",)
    return f"{path}/"
