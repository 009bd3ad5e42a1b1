"""What a stage took and returned, value by value, by name: `router_indices`, `attention_mask`, `position_embeddings.0`.

A value of a tuple has the name that the forward's source gives it, a value of a dict its key, an argument its
parameter's name; a number counts from 0 where there is no name. Numbers are understood everywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llmdbg.models.call_names import argument_names, return_names
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmdbg.engine.stage_event import StageEvent

_PLAIN = re.compile(r"\w+")
_CONTAINERS = (dict, tuple, list)
# Asking whether a value is a Mapping takes long, and this is asked of every argument at every stop.
_NO_CONTAINERS = frozenset((type(None), bool, int, float, str))
_OF_A_PROCESSOR = ("input_ids", "scores")


def returned(event: StageEvent, module: nn.Module | None) -> list[tuple[str, Tensor]]:
    """Every tensor that a stage returned, with its name, in order; the name is empty for a value returned alone."""
    return _tensors(event.output, _return_names(event, module))


def given(event: StageEvent, module: nn.Module | None) -> list[tuple[str, Tensor]]:
    """Every tensor among a stage's arguments, with its name, positional ones first."""
    return _tensors(_arguments(event, module), ())


def copies(tensors: Sequence[tuple[str, Tensor]]) -> dict[str, Tensor]:
    """Copies for the user's own Python, by name; a value returned alone is called `out`."""
    return {name or "out": each.clone() for name, each in tensors}


def value_at(event: StageEvent, module: nn.Module | None, path: Sequence[str], *, is_input: bool) -> Any:
    """The value that `path` names among what a stage returned, or took. Raises KeyError."""
    value, names = (_arguments(event, module), ()) if is_input else (event.output, _return_names(event, module))
    for part in path:
        children = _children(value, names)
        named = dict(children)
        if part in named:
            value = named[part]
        elif part.isdecimal() and int(part) < len(children):
            value = children[int(part)][1]
        else:
            raise KeyError(part)
        names = ()
    return value


def part_of(value: Any, part: str) -> Any:
    """The value of a dict's key, or the numbered one of a tuple or list. Raises KeyError."""
    if isinstance(value, dict):
        return {str(key): each for key, each in dict.items(value) if isinstance(key, str | int)}[part]
    if isinstance(value, tuple | list) and part.isdecimal() and int(part) < len(value):
        return value[int(part)]
    raise KeyError(part)


def _arguments(event: StageEvent, module: nn.Module | None) -> dict[str, Any]:
    names: tuple[str, ...] = argument_names(module) if module is not None else ()
    if event.stage.kind is StageKind.PROCESSOR:
        names = _OF_A_PROCESSOR
    elif event.code is not None:
        names = event.code.parameters
    names = (*names[: len(event.args)], *map(str, range(len(names), len(event.args))))
    return {**dict(zip(names, event.args, strict=True)), **event.kwargs}


def _return_names(event: StageEvent, module: nn.Module | None) -> tuple[str, ...]:
    output = event.output
    if module is None or not isinstance(output, tuple):
        return ()
    return return_names(module, len(output))


def _tensors(value: Any, names: Sequence[str]) -> list[tuple[str, Tensor]]:
    # Imported here: the screen imports stops before it needs torch.
    from torch import Tensor

    found: list[tuple[str, Tensor]] = []

    def collect(name: str, value: Any, names: Sequence[str]) -> None:
        if isinstance(value, Tensor):
            found.append((name, value))
        elif isinstance(value, _CONTAINERS) or (type(value) not in _NO_CONTAINERS and isinstance(value, Mapping)):
            for part, child in _children(value, names):
                collect(f"{name}.{part}" if name else part, child, ())

    collect("", value, names)
    return found


def _children(value: Any, names: Sequence[str]) -> list[tuple[str, Any]]:
    """The values in a tuple, list or mapping, each with its name."""
    if isinstance(value, Mapping):
        return [
            (str(key) if _PLAIN.fullmatch(str(key)) else str(index), child)
            for index, (key, child) in enumerate(value.items())
        ]
    if not isinstance(value, (tuple, list)):
        return []
    own = getattr(value, "_fields", names)
    return [(own[index] if index < len(own) and own[index] else str(index), child) for index, child in enumerate(value)]
