"""Stops after single operations: the aten calls of a model's forward, each with what it took and returned.

A `TorchDispatchMode` sees the calls. It is on the suspended function's stack of modes only while an op is armed.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import get_ident
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from llmdbg.engine._compat import (
    ENGINE_CALL,
    dispatch_keys,
    drop_dispatch_mode,
    in_backward,
    in_transform,
    is_only_read,
    push_dispatch_mode,
    with_dispatch_keys,
)
from llmdbg.engine.model_frames import is_ours as is_llmdbg
from llmdbg.engine.stage_event import CodePlace
from llmdbg.models.stages import Stage, StageKind, op_address, reaches

if TYPE_CHECKING:
    from llmdbg.engine.backward_ops import BackwardOps
    from llmdbg.engine.model_frames import ModelFrames, RunningModule

_TORCH = f"{Path(torch.__file__).parent}/"

OnOp = Callable[[Stage, CodePlace, Any, tuple[Any, ...], dict[str, Any]], Any]
"""Called after an op with its stage, the code that called it, its output and its arguments; returns the output."""


class _OpMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Hands every aten call to `OpStops`."""

    # Flex attention is one.
    supports_higher_order_operators = True

    def __init__(self, stops: OpStops) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._stops = stops

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        # Skipping needs `torch._dynamo`, which takes seconds to import.
        return False

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        """Otherwise torch.compile compiles nothing while the mode is on, and with `fullgraph=True` fails."""
        return True

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the op, and stop after it if it is armed."""
        return self._stops.called(func, args, kwargs or {}, sys._getframe(1))


class OpStops:
    """The armed ops of one model.

    `entered(address)` is called before an armed op runs and `reached` after it, inside the forward, wherever
    `is_ours()` is True; with `backward`, in backward too.
    """

    def __init__(
        self,
        frames: ModelFrames,
        is_ours: Callable[[], bool],
        entered: Callable[[str], None],
        reached: OnOp,
        backward: BackwardOps | None = None,
    ) -> None:
        self._frames = frames
        self._is_ours = is_ours
        self._entered = entered
        self._reached = reached
        self._backward = backward
        self._armed: frozenset[str] = frozenset()
        self._mode = _OpMode(self)
        self._on: set[int] = set()
        """The threads that have the mode on their stacks."""
        self._inside = False
        self._recount = False
        self._keys = dispatch_keys()
        self._is_model_code: dict[CodeType, bool] = {}
        self._known: dict[Any, _Operation] = {}

    def arm(self, addresses: frozenset[str]) -> None:
        """Stop at exactly these ops from the next `sync` on."""
        self._recount = self._recount or (bool(self._on) and not self._armed)
        self._armed = addresses

    def sync(self) -> None:
        """Put the mode on the thread's stack, or take it off. Called inside the suspended function."""
        # While an op runs, torch has taken the mode off the stack, and puts it back afterwards. Autograd runs each node
        # with the modes that its backward began with.
        thread = get_ident()
        # A transform such as vmap takes an op apart with dispatch keys of its own, in which no stop can be made.
        wanted = bool(self._armed) and not (in_transform() or is_only_read())
        if self._inside or (thread in self._on) is wanted or in_backward():
            return
        self._on ^= {thread}
        if thread in self._on:
            self._keys = dispatch_keys()
            self._frames.begin_counting(sys._getframe(1))
            if self._backward is not None:
                self._backward.begin()
            push_dispatch_mode(self._mode)
        else:
            drop_dispatch_mode(self._mode)

    def end(self) -> None:
        """Disarm everything: the function has ended, and its stack of modes with it."""
        self._armed, self._inside, self._recount = frozenset(), False, False
        self._on.clear()

    def called(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], caller: FrameType | None) -> Any:
        """Run an op, and stop after it if it is armed."""
        if not self._armed or self._inside:
            return func(*args, **kwargs)
        if self._backward is not None and (node := self._backward.running()) is not None:
            return self._called_in_backward(node, func, args, kwargs, caller)
        if not self._is_ours():
            self._note(None, func, caller)
            return func(*args, **kwargs)
        if self._recount:
            self._recount = False
            self._frames.begin_counting(caller)
        module = self._frames.innermost(caller)
        if module is None:
            return func(*args, **kwargs)
        self._note(module, func, caller)
        operation = self._known.get(func) or self._operation(func)
        stage = _stage(module, operation.name)
        if not reaches(self._armed, stage.address):
            return func(*args, **kwargs)
        return self._run(operation, stage, lambda: self._place(caller, operation), func, args, kwargs)

    def _called_in_backward(
        self, node: Any, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any], caller: FrameType | None
    ) -> Any:
        """Run an op that a node of autograd calls, and stop after it if it is armed."""
        backward = self._backward
        assert backward is not None
        own = _between(caller)
        if any(is_llmdbg(each.f_code) for each in own):
            return func(*args, **kwargs)
        if own and (module := self._frames.innermost(caller)) is not None:
            # A forward that checkpointing runs again: no stop, but the nodes that it makes may run.
            self._note(module, func, caller)
            return func(*args, **kwargs)
        made = backward.made(node)
        stage = backward.stage(node, made)
        if not reaches(self._armed, stage.address):
            return func(*args, **kwargs)
        operation = self._known.get(func) or self._operation(func)

        def place() -> CodePlace:
            # The backward of a `torch.autograd.Function` has lines of its own.
            if made is None or any(self._is_of_model(each.f_code) for each in own):
                return self._place(caller if own else None, operation)
            return replace(made.code, operation=operation.text, parameters=operation.parameters)

        return self._run(operation, stage, place, func, args, kwargs)

    def _note(self, module: RunningModule | None, func: Any, caller: FrameType | None) -> None:
        """Note what makes the newest node of autograd."""
        if self._backward is not None:
            operation = self._known.get(func) or self._operation(func)
            self._backward.note(module, lambda: replace(self._place(caller, operation), frame=None))

    def _run(
        self,
        operation: _Operation,
        stage: Stage,
        place: Callable[[], CodePlace],
        func: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Run an armed op, and stop after it."""
        self._inside = True
        try:
            taken, named = operation.as_taken(args, kwargs)
            self._entered(stage.address)
            output = func(*args, **kwargs)
            if operation.text.startswith("c10d."):
                _wait_for_collective(operation.text, output)
            # A kernel runs with dispatch keys excluded, which whoever runs meanwhile needs.
            with with_dispatch_keys(self._keys):
                return self._reached(stage, place(), output, taken, named)
        finally:
            self._inside = False

    def _operation(self, func: Any) -> _Operation:
        operation = self._known[func] = _Operation(func)
        return operation

    def _place(self, caller: FrameType | None, operation: _Operation) -> CodePlace:
        """The nearest code that is neither torch's nor ours."""
        frame = caller
        while frame is not None and not self._is_of_model(frame.f_code):
            frame = frame.f_back
        if frame is None:
            return CodePlace("", 0, "", None, operation.text, operation.parameters)
        code = frame.f_code
        return CodePlace(
            code.co_filename, frame.f_lineno, code.co_qualname, frame, operation.text, operation.parameters
        )

    def _is_of_model(self, code: CodeType) -> bool:
        known = self._is_model_code.get(code)
        if known is None:
            # Ours are those that pass calls on, too.
            known = not code.co_filename.startswith((_TORCH, "<")) and not _is_any_of_llmdbg(code)
            self._is_model_code[code] = known
        return known


def _wait_for_collective(operation: str, output: Any) -> None:
    # Not every build of torch can import it.
    from llmdbg.engine.collectives import wait_for_collective

    wait_for_collective(operation, output)


def _between(frame: FrameType | None) -> list[FrameType]:
    """The frames from the innermost of autograd's calls up to this one; none if autograd calls it without Python."""
    found: list[FrameType] = []
    while frame is not None and frame.f_code is not ENGINE_CALL:
        found.append(frame)
        frame = frame.f_back
    return found


def _is_any_of_llmdbg(code: CodeType) -> bool:
    return is_llmdbg(code) or code.co_filename.endswith("/attention_capture.py")


def _stage(module: RunningModule, name: str) -> Stage:
    """The stage of the next op of this name, which is counted."""
    number = None
    if module.ops is not None:
        number = module.ops.get(name, 0)
        module.ops[name] = number + 1
    return Stage(StageKind.OP, op_address(module.address, name, number), module.path, module.layer, module.depth)


class _Operation:
    """What is known about an op before it runs.

    `name` is its name without namespace and overload, `text` with both; `parameters` are its positional parameters.
    """

    def __init__(self, func: Any) -> None:
        schema = getattr(func, "_schema", None)
        self.text = str(func)
        full = str(schema.name) if schema is not None else self.text
        self.name = full.rpartition("::")[2].partition(".")[0]
        arguments = () if schema is None else schema.arguments
        self.parameters = tuple(each.name for each in arguments if not each.kwarg_only)
        self._written = frozenset(each.name for each in arguments if each.alias_info and each.alias_info.is_write)

    def as_taken(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with copies of those that the op writes into."""
        if not self._written:
            return args, kwargs
        named = zip(self.parameters, args, strict=False)
        taken = tuple(_copy(value) if name in self._written else value for name, value in named)
        return taken, {name: _copy(value) if name in self._written else value for name, value in kwargs.items()}


def _copy(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    return [_copy(each) for each in value] if isinstance(value, (list, tuple)) else value
