"""Finds the models that a program calls, at the first call of each.

- Until a model is known, one global forward pre-hook sees every module that is called. The first outermost one with
  parameters is a model. The hook is then removed: it would slow every module down.
- Which other modules are models is known from how the program's modules were put together, by torch's registration
  hook: a module that is part of no other is one. Where a new one is made later, the global hook returns for a moment.
- A known model carries two hooks on each of the modules that a program calls from outside (`anatomies.entries`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, WeakSet, ref

import torch
from torch import nn
from torch.nn.modules.module import register_module_forward_pre_hook, register_module_module_registration_hook

from llmdbg.engine._compat import arguments_of_hooked_call, is_only_read, running_modules
from llmdbg.engine.program.process_wide import ProcessWide
from llmdbg.models.compiled import is_compiled

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

OnModel = Callable[[nn.Module, nn.Module, tuple[Any, ...], dict[str, Any]], None]
"""Called with a model, the part of it that is called, and its arguments."""


class ModelWatch:
    """Calls `on_model` when the program calls a model that is not known yet, and now and then one that is.

    Ignores calls where `is_ours()` is False.
    """

    def __init__(self, is_ours: Callable[[], bool], is_running: Callable[[], bool], on_model: OnModel) -> None:
        self._is_ours = is_ours
        self._is_running = is_running
        self._on_model = on_model
        self._parents: WeakKeyDictionary[nn.Module, ref[nn.Module]] = WeakKeyDictionary()
        self._made: WeakSet[nn.Module] = WeakSet()
        self._known: WeakSet[nn.Module] = WeakSet()
        self._waiting: WeakKeyDictionary[nn.Module, RemovableHandle] = WeakKeyDictionary()
        self._registration: RemovableHandle | None = None
        self._everywhere: RemovableHandle | None = None
        self._wide = ProcessWide(self._copied)

    def begin(self) -> None:
        """Watch from now on."""
        self._wide.begin()
        self._registration = register_module_module_registration_hook(self._put_together)
        self._watch_everywhere()

    def end(self) -> None:
        """Remove every hook."""
        self._wide.end()
        for handle in (self._registration, self._everywhere, *self._waiting.values()):
            if handle is not None:
                handle.remove()
        self._registration = self._everywhere = None
        self._waiting.clear()

    def models(self) -> list[nn.Module]:
        """The models that are put together and have not been called, as far as they are known."""
        return [each for each in self._made if each not in self._parents and each not in self._known]

    def root_of(self, module: nn.Module) -> nn.Module:
        """The outermost module that a module is part of."""
        while (parent := self._parents.get(module)) is not None and (outer := parent()) is not None:
            module = outer
        return module

    def know(self, model: nn.Module) -> None:
        """Stop waiting for a model: it is known, and followed."""
        self._known.add(model)
        self._wide.begin()
        if any(is_compiled(each) for each in model.modules()):
            self.heed_hooks()
        if (handle := self._waiting.pop(model, None)) is not None:
            handle.remove()

    def heed_hooks(self) -> None:
        """Something is compiled: hooks that come later, or lie on one of several modules of the same code, count."""
        self._wide.compiled()

    def _put_together(self, parent: nn.Module, _name: str, child: nn.Module | None) -> None:
        known = None if child is None else self._parents.get(child)
        if torch.compiler.is_exporting():
            self._leave_to_export()
            return
        if child is None or (known is not None and known() is not None) or self._is_running():
            # A slice of a ModuleList, as many forwards take it, is another list of the same modules.
            return
        self._parents[child] = ref(parent)
        self._made.add(parent)
        if self._everywhere is None and parent not in self._known:
            self._watch_everywhere()

    def _leave_to_export(self) -> None:
        """A strict torch.export reads no module where there is a global hook. Wait for the models one by one."""
        if self._everywhere is not None:
            self._everywhere.remove()
            self._everywhere = None
            self._wait_for_others()

    def _copied(self, module: nn.Module) -> None:
        """A copy, which nobody has put together."""
        if self._registration is None or self._is_running():
            return
        for child in module.children():
            self._parents[child] = ref(module)
        self._made.add(module)
        if self._everywhere is None:
            self._watch_everywhere()

    def _watch_everywhere(self) -> None:
        self._everywhere = register_module_forward_pre_hook(self._called)

    def _called(self, module: nn.Module, _args: Any) -> None:
        """The global hook: a module is called, by whomever."""
        if is_only_read():
            return
        if not self._is_ours() or self._is_running():
            return
        model = self.root_of(module)
        if model not in self._known and next(model.parameters(), None) is None:
            return  # a loss, an activation
        outer = next((each for each in running_modules() if next(each.parameters(), None) is not None), module)
        # One that was put together in a way that nobody saw is found when a part of it is called.
        model = self.root_of(outer)
        # Where another thread has called a known one first, this call may have been too early for its hooks.
        args, kwargs = arguments_of_hooked_call()
        self._on_model(model, module, args, kwargs)
        if self._everywhere is not None:
            self._everywhere.remove()
            self._everywhere = None
        self._wait_for_others()

    def _wait_for_others(self) -> None:
        for model in self.models():
            if model not in self._waiting and next(model.parameters(), None) is not None:
                self._waiting[model] = model.register_forward_pre_hook(self._first_call, with_kwargs=True)

    def _first_call(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if not is_only_read() and model in self._waiting and self._is_ours() and not self._is_running():
            self._on_model(model, model, args, kwargs)
