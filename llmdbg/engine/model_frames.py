"""Which module of a model a Python frame belongs to: the innermost that runs, found by who called whom."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

from llmdbg.engine._compat import MODULE_CALL
from llmdbg.models.stages import WHOLE_MODEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from llmdbg.models.anatomy import Anatomy

_OURS = f"{Path(__file__).parents[1]}/"
# It only passes calls on.
_PASSES_ON = f"{_OURS}engine/attention_capture.py"


def is_ours(code: CodeType) -> bool:
    """Whether code is llmdbg's own, other than what passes the model's calls on."""
    return code.co_filename.startswith(_OURS) and code.co_filename != _PASSES_ON


@dataclass(slots=True, eq=False)
class RunningModule:
    """One call of a module that has not returned."""

    module: nn.Module
    """The module."""
    frame: FrameType
    """The frame that calls its forward."""
    path: str
    """Its dotted path in the module tree; empty for the whole model."""
    address: str
    """What the addresses of its lines and ops begin with: its stage's, or its path."""
    layer: int | None
    """The decoder layer it belongs to; None outside the layers."""
    depth: int
    """The depth of its lines and ops."""
    calls: dict[nn.Module, int] = field(default_factory=dict)
    """How often it has called each module that appears at several places."""
    ops: dict[str, int] | None = None
    """How many ops of each name it has run; None if it began before anybody counted."""


class ModelFrames:
    """Finds the running module of a frame in the forwards of one model.

    Frames that were seen running are held, so that two calls are told apart, until another is seen or `forget`.
    """

    def __init__(self, model: nn.Module, anatomy: Anatomy) -> None:
        self._paths: dict[nn.Module, list[str]] = {}
        for path, module in model.named_modules(remove_duplicate=False):
            self._paths.setdefault(module, []).append(path)
        stages = (anatomy.stage(address) for address in anatomy.modules)
        self._stages = {stage.module: stage for stage in stages}
        self._running: list[RunningModule] = []

    def modules(self) -> Iterator[tuple[str, nn.Module]]:
        """Every module of the model, with what the addresses of its lines and ops begin with."""
        for module, paths in self._paths.items():
            for path in paths:
                stage = self._stages.get(path)
                yield (path or WHOLE_MODEL) if stage is None else stage.address, module

    def innermost(self, frame: FrameType | None) -> RunningModule | None:
        """The innermost running module around a frame; None if none runs, or if llmdbg itself called the frame."""
        while frame is not None:
            code = frame.f_code
            if code is MODULE_CALL:
                if self._running and self._running[-1].frame is frame:
                    return self._running[-1]
                return self._found(frame)
            if is_ours(code):
                return None
            frame = frame.f_back
        return None

    def forget(self) -> None:
        """Hold no frame: no forward runs."""
        self._running.clear()

    def begin_counting(self, frame: FrameType | None) -> None:
        """Note the modules that run around a frame: their ops have not been counted from the beginning."""
        while frame is not None and is_ours(frame.f_code):
            frame = frame.f_back
        self.innermost(frame)
        for each in self._running:
            each.ops = None

    def _found(self, frame: FrameType) -> RunningModule | None:
        calls: list[tuple[FrameType, nn.Module]] = []
        at: FrameType | None = frame
        while at is not None:
            if at.f_code is MODULE_CALL:
                module = at.f_locals["self"]
                if module in self._paths:
                    calls.append((at, module))
            elif is_ours(at.f_code):
                break
            at = at.f_back
        calls.reverse()
        same = 0
        while same < min(len(calls), len(self._running)) and self._running[same].frame is calls[same][0]:
            same += 1
        del self._running[same:]
        for each, module in calls[same:]:
            self._running.append(self._begun(module, each))
        return self._running[-1] if self._running else None

    def _begun(self, module: nn.Module, frame: FrameType) -> RunningModule:
        path = self._place(module)
        stage = self._stages.get(path)
        if stage is None:
            return RunningModule(module, frame, path, path or WHOLE_MODEL, None, 1, ops={})
        return RunningModule(module, frame, path, stage.address, stage.layer, stage.depth + 1, ops={})

    def _place(self, module: nn.Module) -> str:
        """Where in the tree a module that has just been called is, as in `shared_modules.py`."""
        paths = self._paths[module]
        if len(paths) == 1:
            return paths[0]
        for caller in reversed(self._running):
            inside = [path for path in paths if not caller.path or path.startswith(f"{caller.path}.")]
            if inside:
                count = caller.calls.get(module, 0)
                caller.calls[module] = count + 1
                return inside[count % len(inside)]
        return paths[0]
