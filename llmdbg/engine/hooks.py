"""Puts forward hooks on the modules that need one, and on no others.

A module that starts without any forward hook takes torch's fast path and does not check for hooks when it ends. To let
a stop deep inside a layer be followed by one at the layer's end, the modules that enclose an armed one carry hooks too,
which only note the time while they are not armed. So do those with an armed line or op.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmdbg.engine.shared_modules import LeaveHook, PreHook, SharedModules
from llmdbg.models.stages import Stage, fine_among, line_parts, op_parts

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from llmdbg.models.anatomy import Anatomy


AnyHook = Callable[..., Any]


def _as_it_is(hook: AnyHook) -> AnyHook:
    return hook


class Hooks:
    """The forward hooks on a model's stages.

    `entering(address)` makes the pre-hook of each armed module and of those enclosing it, `leaving(stage)` the hook of
    each armed module. They run at every armed stage, so torch calls them directly; forwards that are not the run's call
    them too. Modules that appear at several places are hooked by `SharedModules` for a whole run; `is_ours()` says
    whether the calling forward is the run's. `outside` keeps a hook out of what torch.compile makes of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        anatomy: Anatomy,
        is_ours: Callable[[], bool],
        entering: Callable[[str], PreHook],
        leaving: Callable[[Stage], LeaveHook],
        outside: Callable[[AnyHook], AnyHook] = _as_it_is,
    ) -> None:
        self._anatomy = anatomy
        self._shared = SharedModules(model, anatomy, is_ours, entering, leaving, outside)
        self._entering = entering
        self._leaving = leaving
        self._outside = outside
        self._hooked_now: frozenset[str] = frozenset()
        self._armed: dict[str, tuple[RemovableHandle, RemovableHandle]] = {}
        self._around: dict[str, tuple[RemovableHandle, RemovableHandle]] = {}

    def arm(self, addresses: frozenset[str]) -> None:
        """Hook exactly the modules of `addresses`, those enclosing them and their lines and ops; unhook all others."""
        if addresses == self._hooked_now:
            return
        self._hooked_now = addresses
        wanted = {address for address in addresses if address in self._anatomy.modules}
        around = {
            outer.address
            for address in wanted
            for outer in self._anatomy.enclosing(self._anatomy.stage(address))
            if outer.address not in wanted and outer.address not in self._shared
        }
        around |= {
            each for each in self._with_lines_or_ops(addresses) if each not in self._shared and each not in wanted
        }
        shared = {address for address in wanted if address in self._shared}
        self._shared.arm(shared)
        wanted -= shared
        # Add before removing: a module that is running now must never be without a hook.
        added = {address: self._hooked(address) for address in wanted - self._armed.keys()}
        added_around = {address: self._kept_on_hook_path(address) for address in around - self._around.keys()}
        for address in self._armed.keys() - wanted:
            for handle in self._armed.pop(address):
                handle.remove()
        for address in self._around.keys() - around:
            for handle in self._around.pop(address):
                handle.remove()
        self._armed |= added
        self._around |= added_around

    def _with_lines_or_ops(self, addresses: frozenset[str]) -> set[str]:
        """The modules around the lines and ops among `addresses`."""
        inside = {parts[0] for each in fine_among(addresses) if (parts := line_parts(each) or op_parts(each))}
        if "*" in inside:
            return set(self._anatomy.modules)
        within = [self._anatomy.stage(each) for each in inside if each in self._anatomy.modules]
        return {outer.address for each in within for outer in (each, *self._anatomy.enclosing(each))}

    def begin(self) -> None:
        """Prepare for a run, during which the armed stages may change."""
        self._shared.attach()

    def clear(self) -> None:
        """Remove every hook."""
        self.arm(frozenset())
        self._shared.detach()

    def _hooked(self, address: str) -> tuple[RemovableHandle, RemovableHandle]:
        stage, module = self._anatomy.stage(address), self._anatomy.modules[address]
        entering, leaving = self._outside(self._entering(address)), self._outside(self._leaving(stage))
        return module.register_forward_pre_hook(entering), module.register_forward_hook(leaving, with_kwargs=True)

    def _kept_on_hook_path(self, address: str) -> tuple[RemovableHandle, RemovableHandle]:
        module = self._anatomy.modules[address]
        entering, leaving = self._outside(self._entering(address)), self._outside(_do_nothing)
        return module.register_forward_pre_hook(entering), module.register_forward_hook(leaving)


def _do_nothing(_module: Any, _args: Any, _output: Any) -> None:
    return None
