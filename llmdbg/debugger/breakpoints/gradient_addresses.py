"""Addresses of gradients, which are computed in backward.

12.mlp.grad                   with respect to what the module returned
12.mlp.down_proj.weight.grad  with respect to a parameter, once it has been accumulated
logits.grad, loss.grad        with respect to what the whole model returned
*.grad, 8-15.mlp.grad         as with modules: `*.grad` is every layer's, and that of what is around them
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from llmdbg.errors import AddressError
from llmdbg.models.stages import LOSS, StageKind, gradient_address, gradient_of

if TYPE_CHECKING:
    from llmdbg.models.anatomy import Anatomy


class GradientAddresses:
    """Looks up gradients. `able` says whether the debuggee can stop at them; `name` names it."""

    def __init__(self, anatomy: Anatomy, *, able: bool, name: str) -> None:
        self._anatomy = anatomy
        self._able = able
        self._name = name

    def find(self, place: str, stages: Callable[[str], Iterable[str]]) -> frozenset[str] | None:
        """The gradients that `place` names; None if it is no such address.

        `stages(text)` are the addresses of the stages that a text names. Raises AddressError.
        """
        of = gradient_of(place)
        if of is None:
            return None
        found = [LOSS] if of == LOSS else [each for each in stages(of) if self._has_gradient(each)]
        found = found or self._parameters(of, stages)
        if found and not self._able:
            raise AddressError(f"{self._name} computes no gradients: `llmdbg run` stops at those of a training step")
        if not found:
            raise AddressError(
                f"nothing that has a gradient is called {of!r}: `12.mlp.grad`, `12.mlp.up_proj.weight.grad`"
            )
        return frozenset(map(gradient_address, found))

    def all(self) -> tuple[str, ...]:
        """Those with respect to what modules and the whole model return; none if the debuggee stops at none."""
        found = [each.address for each in self._anatomy.stages if self._has_gradient(each.address)]
        return tuple(map(gradient_address, (*found, LOSS))) if self._able else ()

    def _has_gradient(self, address: str) -> bool:
        return address in self._anatomy.modules or self._anatomy.stage(address).kind is StageKind.LOGITS

    def _parameters(self, of: str, stages: Callable[[str], Iterable[str]]) -> list[str]:
        module, _, name = of.rpartition(".")
        inside = [each for each in stages(module) if each in self._anatomy.modules] if module else []
        return [f"{each}.{name}" for each in inside if self._anatomy.modules[each]._parameters.get(name) is not None]
