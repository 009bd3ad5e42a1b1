"""Which modules carry a hook, and nothing more than those.

A module that has begun without any forward hook takes torch's short path and will not look for hooks when it ends. So
that a stop deep inside a layer can still be followed by a stop at the layer's end, the modules around an armed one
carry hooks as well, which only note the time while they are not armed.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Any

from llmdbg.models.stages import Stage

if TYPE_CHECKING:
    from torch.utils.hooks import RemovableHandle

    from llmdbg.models.anatomy import Anatomy

OnEnter = Callable[[Stage], None]
OnLeave = Callable[[Stage, tuple[Any, ...], dict[str, Any], Any], None]


class Hooks:
    """The forward hooks on a model's stages.

    `on_enter(stage)` is called before each armed module's forward and before those around it, and
    `on_leave(stage, args, kwargs, output)` after each armed module's.
    """

    def __init__(self, anatomy: Anatomy, on_enter: OnEnter, on_leave: OnLeave) -> None:
        self._anatomy = anatomy
        self._on_enter = on_enter
        self._on_leave = on_leave
        self._armed: dict[str, tuple[RemovableHandle, RemovableHandle]] = {}
        self._around: dict[str, tuple[RemovableHandle, RemovableHandle]] = {}

    def arm(self, addresses: Collection[str]) -> None:
        """Hook exactly the modules of `addresses` and those around them; unhook every other."""
        wanted = {address for address in addresses if address in self._anatomy.modules}
        around = {
            outer.address
            for address in wanted
            for outer in self._anatomy.enclosing(self._anatomy.stage(address))
            if outer.address not in wanted
        }
        # Add before removing: a module that is running now must not be without a hook in between.
        added = {address: self._hooked(address) for address in wanted - self._armed.keys()}
        added_around = {address: self._kept_listening(address) for address in around - self._around.keys()}
        for address in self._armed.keys() - wanted:
            for handle in self._armed.pop(address):
                handle.remove()
        for address in self._around.keys() - around:
            for handle in self._around.pop(address):
                handle.remove()
        self._armed |= added
        self._around |= added_around

    def clear(self) -> None:
        """Remove every hook."""
        self.arm(())

    def _hooked(self, address: str) -> tuple[RemovableHandle, RemovableHandle]:
        stage, module = self._anatomy.stage(address), self._anatomy.modules[address]
        enter = partial(self._enter, stage)
        leave = partial(self._leave, stage)
        return module.register_forward_pre_hook(enter), module.register_forward_hook(leave, with_kwargs=True)

    def _kept_listening(self, address: str) -> tuple[RemovableHandle, RemovableHandle]:
        stage, module = self._anatomy.stage(address), self._anatomy.modules[address]
        return (
            module.register_forward_pre_hook(partial(self._enter, stage)),
            module.register_forward_hook(_do_nothing),
        )

    def _enter(self, stage: Stage, _module: Any, _args: Any) -> None:
        self._on_enter(stage)

    def _leave(self, stage: Stage, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        self._on_leave(stage, args, kwargs, output)


def _do_nothing(_module: Any, _args: Any, _output: Any) -> None:
    return None
