"""What forward hooks of somebody else keep from one forward to the next.

A hook may remember in its closure, in globals, in the object it belongs to. Where forwards are seen to change any of
it, it is put back before every run from the prompt, and going back reruns from there, so that the hook is called as
often as it was. Libraries' globals are not looked at, nor what a class itself holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.nn.modules import module as torch_module

from llmdbg.engine.model_memory.mementos import Memento, TooManyPartsError, mementos


class HookState:
    """The memory of a model's forward hooks: `begin` before a run from the prompt, `end` after every run.

    `reruns` is True once forwards have changed any of it: the past must then be rerun from the prompt. `names` are the
    hooks that remember, `lost` those whose memory cannot be put back, or cannot be seen.
    """

    def __init__(self, model: nn.Module) -> None:
        self.reruns = False
        self.names: set[str] = set()
        self.lost: set[str] = set()
        self._model = model
        self._known = set(map(id, model.modules()))
        self._kept: list[tuple[str, Memento]] = []
        self._left: set[tuple[int, Any]] = set()

    def begin(self) -> None:
        """Put back what earlier runs have changed, and note all as it is now."""
        for _, each in self._kept:
            if each.key in self._left:
                each.put_back()
        self._kept = []
        seen = set[tuple[int, Any]]()
        for name, hook in self._hooks():
            try:
                for each in mementos(hook, self._known):
                    if each.key not in seen:
                        seen.add(each.key)
                        self._kept.append((name, each))
                    if each.is_hidden:
                        self.lost.add(name)
            except TooManyPartsError:
                self.lost.add(name)

    def end(self) -> None:
        """After a run: find out what its forwards have changed."""
        for name, each in self._kept:
            if each.key not in self._left and each.has_changed():
                self.reruns = True
                if each.is_kept:
                    self._left.add(each.key)
                    self.names.add(name)
                else:
                    self.lost.add(name)

    def notes(self) -> list[str]:
        """Sentences on what going back does about hooks, or may not undo, for the user."""
        self.lost |= {name for name, each in self._kept if not each.is_kept and each.has_changed()}
        found = []
        if remembered := self.names - self.lost:
            found.append(
                f"{_listed(remembered)} remembers from forward to forward: going back puts that back and reruns from "
                "the prompt, slower"
            )
        if self.lost:
            found.append(
                f"what {_listed(self.lost)} remembers may not be put back by going back: tokens may differ then"
            )
        return found

    def _hooks(self) -> Iterator[tuple[str, Any]]:
        """Every forward hook but ours, with its name and place."""
        everywhere = (torch_module._global_forward_pre_hooks, torch_module._global_forward_hooks)
        places = [("every module", each) for each in everywhere]
        for name, module in self._model.named_modules():
            if module._forward_hooks or module._forward_pre_hooks:
                places += [(name or "the model", each) for each in (module._forward_pre_hooks, module._forward_hooks)]
        for place, hooks in places:
            for hook in hooks.values():
                if not str(getattr(hook, "__module__", "")).startswith("llmdbg."):
                    called = getattr(hook, "__qualname__", type(hook).__qualname__).replace("<locals>.", "")
                    yield f"the hook {called} on {place}", hook


def _listed(names: set[str]) -> str:
    first, *others = sorted(names)
    return f"{first} (and {len(others)} more)" if others else first
