"""Which Python frames are shown: not llmdbg's own, nor those that only pass a call on."""

from __future__ import annotations

import sys
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


def _folders(package: str) -> str:
    """The folder of a package; of one that is not imported, one that no file is in."""
    # Asked of what is imported: who debugs may have replaced how modules are found.
    (path, *_) = getattr(sys.modules.get(package), "__path__", None) or ("\0",)
    return f"{path}/"
