"""What a model's modules remember from one forward to the next, beside the KV cache.

Rotary embeddings with a dynamic base note the longest text they have seen and take other frequencies beyond it. Going
back in time must put that back as well. Some architectures (RecurrentGemma) keep their whole recurrent state in plain
attributes, and overwrite it as they please: those are only recognised, and run again from the prompt.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

_SIGN = "max_seq_len_cached"

State = tuple[tuple[dict[str, Any], dict[str, Tensor | None]], ...]
"""Plain attributes and buffers of each module that remembers."""


class ModuleState:
    """The modules of a model that remember. Most models have none that changes, and then both calls do nothing."""

    def __init__(self, model: nn.Module) -> None:
        self._all = list(model.modules())
        self._modules = [module for module in self._all if _remembers(module)]
        self._held: list[Tensor] = []

    def mark(self) -> None:
        """A run begins with its prompt: see which tensors modules hold as plain attributes."""
        self._held = self._plain_tensors()

    def holds_state(self) -> bool:
        """Whether the forward since `mark` has left other tensors in plain attributes."""
        now = self._plain_tensors()
        return len(now) != len(self._held) or any(a is not b for a, b in zip(now, self._held, strict=True))

    def _plain_tensors(self) -> list[Tensor]:
        # Those that remember are restored; all else that forwards leave behind is not.
        remembering = set(map(id, self._modules))
        modules = (module for module in self._all if id(module) not in remembering)
        return [value for module in modules for value in vars(module).values() if isinstance(value, Tensor)]

    def now(self) -> State:
        """What they remember: references, since each forward that changes something replaces it."""
        return tuple((_plain(module), dict(module.named_buffers(recurse=False))) for module in self._modules)

    def restore(self, state: State) -> None:
        """Make them remember that again."""
        for module, (plain, buffers) in zip(self._modules, state, strict=True):
            for name, value in plain.items():
                setattr(module, name, value)
            for name, buffer in buffers.items():
                if getattr(module, name) is not buffer:
                    module.register_buffer(name, buffer, persistent=False)


def _remembers(module: nn.Module) -> bool:
    kinds = getattr(module, "rope_type", None)
    kinds = kinds.values() if isinstance(kinds, dict) else (kinds,)
    return any(isinstance(kind, str) and ("dynamic" in kind or kind == "longrope") for kind in kinds)


def _plain(module: nn.Module) -> dict[str, Any]:
    named = {name: value for name, value in vars(module).items() if _SIGN in name}
    return named | {name: value for name, value in vars(module).items() if isinstance(value, float)}
