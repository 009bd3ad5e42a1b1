"""Finds out which place in the module tree is running, for modules that appear at several.

A layer may be used twice, or two layers may share an MLP. Torch then runs one object, and only its callers tell its
places apart: a place is identified by the innermost running stage that encloses it, and if that stage contains the
module more than once, by how often it has called it. To track what is running, such modules and those enclosing them
carry hooks for a whole run. Models without shared modules, which are nearly all, carry none.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.hooks import RemovableHandle

    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage

PreHook = Callable[[Any, Any], None]
"""A forward pre-hook: called with the module and its positional arguments."""

LeaveHook = Callable[[Any, tuple[Any, ...], dict[str, Any], Any], Any]
"""A forward hook: called with the module, its arguments and its output; returns another output, or None."""


@dataclass(slots=True)
class _Running:
    """A running module."""

    module: nn.Module
    """The module."""
    address: str | None
    """Where it is in the module tree; None for the whole model."""
    calls: dict[nn.Module, int] = field(default_factory=dict)
    """How often it has called each shared module."""


class SharedModules:
    """The modules of a model that appear at several places; `address in shared` says whether one is at an address.

    `entering(address)` and `leaving(stage)` make the hooks of a place, as for any other module. Forwards for which
    `is_ours()` is False are ignored. `outside` keeps a hook out of what torch.compile makes of the model.
    """

    def __init__(
        self,
        model: nn.Module,
        anatomy: Anatomy,
        is_ours: Callable[[], bool],
        entering: Callable[[str], PreHook],
        leaving: Callable[[Stage], LeaveHook],
        outside: Callable[[Callable[..., Any]], Callable[..., Any]],
    ) -> None:
        at: dict[nn.Module, list[str]] = {}
        for address, module in anatomy.modules.items():
            at.setdefault(module, []).append(address)
        self._at = {module: addresses for module, addresses in at.items() if len(addresses) > 1}
        self._model = model
        self._anatomy = anatomy
        self._is_ours = is_ours
        self._outside = outside
        self._leaving = leaving
        places = [address for addresses in self._at.values() for address in addresses]
        self._enter = {address: entering(address) for address in places}
        self._leave: dict[str, LeaveHook] = {}
        self._inside: dict[str, str | None] = {}
        for address in places:
            around = anatomy.enclosing(anatomy.stage(address))
            self._inside[address] = around[0].address if around else None
        self._running = [_Running(model, None)]
        self._handles: list[RemovableHandle] = []

    def __contains__(self, address: str) -> bool:
        return address in self._inside

    def attach(self) -> None:
        """Track what runs from now on."""
        if not self._at:
            return
        # A function, not a method: a copy of the model would copy a bound method's object, and with it the run.
        self._handles.append(self._model.register_forward_pre_hook(self._outside(lambda *_: self._begin())))
        around = {address for address in self._inside.values() if address is not None and address not in self}
        for address in sorted(around):
            self._follow(self._anatomy.modules[address], address)
        for module in self._at:
            self._follow(module, None)

    def detach(self) -> None:
        """Remove every hook."""
        for handle in self._handles:
            handle.remove()
        self._handles.clear()

    def arm(self, addresses: Collection[str]) -> None:
        """Call the hooks of exactly these places from now on."""
        self._leave = {address: self._leaving(self._anatomy.stage(address)) for address in addresses}

    def _follow(self, module: nn.Module, address: str | None) -> None:
        """Hook a module that is only at `address`, or a shared one if None."""

        def enter(_module: Any, args: Any) -> None:
            if not self._is_ours():
                return
            place = address if address is not None else self._place(module)
            self._running.append(_Running(module, place))
            if place in self._enter:
                self._enter[place](module, args)

        # Of a hook that is removed meanwhile torch forgets that it takes keyword arguments: then it is none of ours.
        def leave(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any = None) -> Any:
            if not self._is_ours():
                return None
            place = self._end(module)
            return self._leave[place](module, args, kwargs, output) if place in self._leave else None

        self._handles.append(module.register_forward_pre_hook(self._outside(enter)))
        self._handles.append(module.register_forward_hook(self._outside(leave), with_kwargs=True))

    def _begin(self) -> None:
        if self._is_ours():
            self._running = [_Running(self._model, None)]

    def _place(self, module: nn.Module) -> str:
        """The address of a shared module that has just been called."""
        for caller in reversed(self._running):
            inside = [address for address in self._at[module] if self._inside[address] == caller.address]
            if inside:
                break
        else:
            caller, inside = self._running[0], self._at[module]
        count = caller.calls.get(module, 0)
        caller.calls[module] = count + 1
        return inside[count % len(inside)]

    def _end(self, module: nn.Module) -> str | None:
        # A module whose forward failed, if the model caught the exception, never ran its end hook.
        while len(self._running) > 1:
            ended = self._running.pop()
            if ended.module is module:
                return ended.address
        return None
