"""Follows the outermost calls of known models: when a forward begins, ends or fails."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import nn

from llmdbg.engine._compat import running_call, untraced
from llmdbg.engine.stage_event import CodePlace

if TYPE_CHECKING:
    from types import FrameType, TracebackType

    from torch.utils.hooks import RemovableHandle

    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage


class Follower(Protocol):
    """Is told of outermost calls. Each takes the model and the part of it that is called."""

    def began(self, model: nn.Module, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A forward begins."""

    def ended(self, model: nn.Module, module: nn.Module, output: Any) -> Any:
        """It has ended. Returns its output, edited or not."""

    def failed(self, model: nn.Module, error: BaseException) -> None:
        """An exception is on its way out of it."""


class Turn(Protocol):
    """One forward is followed at a time."""

    def take(self) -> bool:
        """Wait for the turn. Returns False if the calling thread's forward is not to be followed."""

    def free(self) -> None:
        """The turn is over."""

    def is_running_here(self) -> bool:
        """Whether the caller's thread had the last turn."""


class OutermostCalls:
    """Tells `follower` of the outermost calls of the models in `follow`, where `is_ours()` says that they are.

    `on_compiled` is called with a model whose call torch.compile reads, and whether it allows no stop.
    """

    def __init__(
        self,
        is_ours: Callable[[], bool],
        turn: Turn,
        follower: Follower,
        on_compiled: Callable[[nn.Module, bool], None],
    ) -> None:
        self._is_ours = is_ours
        self._turn = turn
        self._follower = follower
        self._on_compiled = on_compiled
        self._running: list[nn.Module] = []
        self._begun_by = 0
        self._early: FrameType | None = None
        self._handles: list[RemovableHandle] = []

    def is_running(self) -> bool:
        """Whether a forward of a known model is running in the calling thread, and is followed."""
        return bool(self._running) and self._turn.is_running_here()

    def follow(self, model: nn.Module, entries: list[nn.Module]) -> None:
        """Hook the modules of a model that a program may call from outside."""
        for entry in entries:
            # Functions, not methods: a copy of the model would copy a bound method's object too.
            entering, leaving = self._entering(model, entry), self._leaving(model, entry)
            # One in what is compiled is rarely outermost, and would take it apart.
            outside = partial(untraced, on_read=partial(self._on_compiled, model)) if entry is model else _unless_read
            self._handles.append(entry.register_forward_pre_hook(outside(entering), with_kwargs=True))
            leaving = outside(leaving)
            self._handles.append(entry.register_forward_hook(leaving, with_kwargs=True, always_call=True))

    def begin(self, model: nn.Module, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Note a call of a module whose pre-hook may have been put on too late to see it. Called by a hook of it."""
        self._early = running_call()
        self._enter(model, module, args, kwargs)

    def clear(self) -> None:
        """Remove every hook."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
        self._running.clear()
        self._early = None

    def _entering(self, model: nn.Module, entry: nn.Module) -> Callable[..., None]:
        def enter(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            # A copy of the model carries copies of its hooks.
            if module is entry and self._is_ours() and not self._has_begun():
                self._enter(model, entry, args, kwargs)

        return enter

    def _has_begun(self) -> bool:
        if self._early is None or self._begun_by != get_ident():
            return False
        early, self._early = self._early, None
        return early is running_call()

    def _enter(self, model: nn.Module, entry: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not self._turn.take():
            return
        if entry is model:
            # A forward that was left by no exception that hooks are called for, such as KeyboardInterrupt.
            self._running.clear()
        elif self._begun_by != get_ident():
            self._running.clear()
        self._begun_by = get_ident()
        self._running.append(entry)
        if len(self._running) == 1:
            self._follower.began(model, entry, args, kwargs)

    def _leaving(self, model: nn.Module, entry: nn.Module) -> Callable[..., Any]:
        def leave(module: nn.Module, _args: Any, _kwargs: Any, output: Any) -> Any:
            if module is not entry or not self.is_running() or not self._is_ours() or entry not in self._running:
                return None
            while self._running.pop() is not entry:
                pass
            if self._running:
                return None
            self._early = None
            error = sys.exc_info()[1] if output is None else None
            try:
                if error is not None and any(frame is entry for frame in _callers_of(error.__traceback__)):
                    self._follower.failed(model, error)
                    return None
                return self._follower.ended(model, entry, output)
            finally:
                self._turn.free()

        return leave


def _unless_read(function: Callable[..., Any]) -> Callable[..., Any]:
    """A hook that torch.compile leaves out of what it makes of the module."""

    def hook(*args: Any, **kwargs: Any) -> Any:
        return None if torch.compiler.is_compiling() else function(*args, **kwargs)

    return hook


def failing_stage(error: BaseException, anatomy: Anatomy) -> Stage | None:
    """The innermost stage whose module an exception was raised in."""
    at = {module: address for address, module in anatomy.modules.items()}
    found = [at[each] for each in _callers_of(error.__traceback__) if each in at]
    return anatomy.stage(found[-1]) if found else None


def running_stage(anatomy: Anatomy) -> Stage | None:
    """The innermost stage whose module has a method running, above the caller; None outside of forwards."""
    at = {module: address for address, module in anatomy.modules.items()}
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if isinstance(owner, nn.Module) and owner in at:
            return anatomy.stage(at[owner])
        frame = frame.f_back
    return None


def calling_line() -> CodePlace | None:
    """The line of the program that has called into llmdbg; None if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and str(frame.f_globals.get("__name__")).startswith("llmdbg."):
        frame = frame.f_back
    if frame is None:
        return None
    return CodePlace(frame.f_code.co_filename, frame.f_lineno, frame.f_code.co_qualname, frame)


def _callers_of(traceback: TracebackType | None) -> list[nn.Module]:
    """The modules whose methods an exception has passed through, outermost first."""
    found = []
    while traceback is not None:
        owner = traceback.tb_frame.f_locals.get("self")
        if isinstance(owner, nn.Module):
            found.append(owner)
        traceback = traceback.tb_next
    return found
