"""What is changed of torch for the whole process while a program is debugged, and is put back afterwards.

- Whole modules are saved, copied and sent to other processes together with their hooks. The debugger's cannot be
  pickled and have no place there: they are left out, so `torch.save(model)` writes what it would have written.
- torch.compile ignores hooks that come after it has read a module, or another module of the same code, and warns of
  global ones.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from torch import nn

from llmdbg.engine._compat import heed_hooks, ignore_hooks

_OF_HOOKS = {
    "_forward_hooks": ("_forward_hooks", "_forward_hooks_with_kwargs", "_forward_hooks_always_called"),
    "_forward_pre_hooks": ("_forward_pre_hooks", "_forward_pre_hooks_with_kwargs"),
}
_OF_GLOBAL_HOOKS = r"Using `torch\.compile\(module\)` when there are global hooks"
_State = Callable[..., Any]


class ProcessWide:
    """The changes, between `begin` and `end`. `on_copied` is called with each module that is copied or unpickled."""

    def __init__(self, on_copied: Callable[[nn.Module], None]) -> None:
        self._on_copied = on_copied
        self._changed: dict[str, tuple[Any, Any]] = {}
        self._filter: Any = None
        self._heeding = False

    def begin(self) -> None:
        """Make them. Again, it does nothing."""
        if self._changed:
            return
        self._change("__getstate__", _without_hooks(nn.Module.__getstate__))
        self._change("__setstate__", self._telling(nn.Module.__setstate__))
        warnings.filterwarnings("ignore", _OF_GLOBAL_HOOKS)
        self._filter = warnings.filters[0]

    def compiled(self) -> None:
        """Let what torch.compile makes of modules be made again where a hook comes or goes."""
        if not self._heeding:
            self._heeding = heed_hooks()

    def end(self) -> None:
        """Put everything back. Again, it does nothing."""
        for name, (before, ours) in self._changed.items():
            if nn.Module.__dict__.get(name) is not ours:
                continue  # someone has replaced it again
            if before is None:
                delattr(nn.Module, name)
            else:
                setattr(nn.Module, name, before)
        self._changed.clear()
        if self._filter in warnings.filters:
            warnings.filters.remove(self._filter)  # type: ignore[attr-defined]
        if self._heeding:
            ignore_hooks()
            self._heeding = False

    def _change(self, name: str, ours: _State) -> None:
        self._changed[name] = nn.Module.__dict__.get(name), ours
        setattr(nn.Module, name, ours)

    def _telling(self, original: _State) -> _State:
        def take_state(self_: nn.Module, state: Any) -> None:
            original(self_, state)
            self._on_copied(self_)

        return take_state


def _without_hooks(original: _State) -> _State:
    def state_of(self: nn.Module) -> Any:
        state = original(self)
        if not isinstance(state, dict):
            return state
        for name, tables in _OF_HOOKS.items():
            ours = {key for key, hook in state.get(name, {}).items() if _is_ours(hook)}
            for each in tables if ours else ():
                kept = state[each].copy()
                for key in ours & kept.keys():
                    del kept[key]
                # What is called its state may be the module's own dictionary.
                state = {**state, each: kept}
        return state

    return state_of


def _is_ours(hook: Any) -> bool:
    return str(getattr(hook, "__module__", "")).startswith("llmdbg.")
