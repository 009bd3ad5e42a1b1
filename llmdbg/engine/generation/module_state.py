"""State that a model's modules keep from one forward to the next, besides the KV cache.

Rotary embeddings with a dynamic base remember the longest sequence so far and change their frequencies beyond it. Going
back must restore that too. Some architectures (RecurrentGemma) keep their whole recurrent state in plain attributes and
overwrite it in place: those are only detected, and rerun from the prompt.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

_SIGN = "max_seq_len_cached"

State = tuple[tuple[dict[str, Any], dict[str, Tensor | None]], ...]
"""The plain attributes and buffers of each stateful module."""


class ModuleState:
    """The stateful modules of a model. Most models have none; then `now` is empty and `restore` does nothing."""

    def __init__(self, model: nn.Module) -> None:
        self._all = list(model.modules())
        self._modules = [module for module in self._all if _is_stateful(module)]
        self._held: list[Tensor] = []

    def mark(self) -> None:
        """Before a run from the prompt, note the tensors that modules hold as plain attributes."""
        self._held = self._plain_tensors()

    def holds_state(self) -> bool:
        """Whether forwards since `mark` have left other tensors in plain attributes."""
        now = self._plain_tensors()
        return len(now) != len(self._held) or any(a is not b for a, b in zip(now, self._held, strict=True))

    def _plain_tensors(self) -> list[Tensor]:
        # Stateful modules are restored; anything else that forwards leave behind is not.
        stateful = set(map(id, self._modules))
        modules = (module for module in self._all if id(module) not in stateful)
        return [value for module in modules for value in vars(module).values() if isinstance(value, Tensor)]

    def now(self) -> State:
        """Their state now: references, since a forward replaces what it changes."""
        return tuple((_plain(module), dict(module.named_buffers(recurse=False))) for module in self._modules)

    def restore(self, state: State) -> None:
        """Set their state back."""
        for module, (plain, buffers) in zip(self._modules, state, strict=True):
            for name, value in plain.items():
                setattr(module, name, value)
            for name, buffer in buffers.items():
                if getattr(module, name) is not buffer:
                    module.register_buffer(name, buffer, persistent=False)


def _is_stateful(module: nn.Module) -> bool:
    kinds = getattr(module, "rope_type", None)
    kinds = kinds.values() if isinstance(kinds, dict) else (kinds,)
    return any(isinstance(kind, str) and ("dynamic" in kind or kind == "longrope") for kind in kinds)


def _plain(module: nn.Module) -> dict[str, Any]:
    named = {name: value for name, value in vars(module).items() if _SIGN in name}
    return named | {name: value for name, value in vars(module).items() if isinstance(value, float)}
