"""Writes stages' outputs for the current token to a safetensors file: the exact bits, and where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmdbg.debugger.execution.trace import BEGINNING
from llmdbg.debugger.inspection.timed_runs import forward_of
from llmdbg.debugger.known_values import refuse_unrecorded
from llmdbg.errors import CommandError
from llmdbg.files import private_replacement
from llmdbg.formatting import with_article
from llmdbg.probes.finiteness import tensors_in
from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent

_SHOWN = 3
_IN_PASSING = "a stage is saved where the run stops at it"


def save_tensors(inspector: Inspector, target: Target, path: Path) -> str:
    """Write every tensor that the stages of `target` returned for the current token. Returns a line that says so.

    A stage's only tensor is named by its address, one of several also by its place: `12.self_attn[1]`. A stage that ran
    more than once is written as of its last run. An existing file is replaced only when the new one is complete. Reruns
    the token (up to two forwards) unless the current stage is the only one. Raises CommandError for a stage that has
    not run yet for this token, for tensors that the format cannot hold, and if the file cannot be written.
    """
    token = inspector.event.token
    if not target.at(token):
        raise CommandError(f"{target.text} is not about token {token}, the current one: `goto {target.text}` first")
    found = _found(inspector, target.addresses)
    missing = sorted(target.addresses - found.keys())
    if missing:
        raise CommandError(f"{missing[0]} has not run yet for token {token}: `goto {missing[0]}` first")
    named = {name: tensor for tensors in found.values() for name, tensor in tensors.items()}
    if not named:
        raise CommandError(f"{target.text} returned no tensor")
    replaced = path.exists()
    _write(path, named, _metadata(inspector, target))
    return f"wrote {path}{' (replaced)' if replaced else ''}: {_described(named)}"


def _found(inspector: Inspector, addresses: frozenset[str]) -> dict[str, dict[str, Tensor]]:
    """Copies of what these stages have returned so far, by address and name."""
    place = inspector.run.place
    if addresses == {place.address}:
        return {place.address: _copies(inspector.run.event)}
    if place == BEGINNING:
        return {}
    found: dict[str, dict[str, Tensor]] = {}
    left = place.occurrence

    def look(event: StageEvent) -> bool:
        nonlocal left
        if event.stage.address in addresses:
            found[event.stage.address] = _copies(event)
        left -= event.stage.address == place.address
        return left < 0

    watched = {*addresses, place.address}
    with inspector.replay.elsewhere(_IN_PASSING), forward_of(inspector, place.token, watched, look) as events:
        for event in events:
            if left < 0 or event.stage.address != "tokenize":
                break
    return found


@torch.no_grad()
def _copies(event: StageEvent) -> dict[str, Tensor]:
    """A copy of every tensor a stage returned, in order. Does not wait for the device."""
    refuse_unrecorded(event)
    named = list(tensors_in(event.output, event.stage.address, lambda value: isinstance(value, Tensor)))
    if len(named) == 1:
        named = [(event.stage.address, named[0][1])]
    return {name: _own(name, tensor) for name, tensor in named}


def _own(name: str, tensor: Tensor) -> Tensor:
    if tensor.is_sparse or tensor.is_quantized or tensor.is_nested or tensor.is_meta:
        kinds = {"sparse": tensor.is_sparse, "quantised": tensor.is_quantized, "nested": tensor.is_nested, "meta": True}
        kind = next(name for name, applies in kinds.items() if applies)
        raise CommandError(f"{name} is {with_article(kind)} tensor, which a .safetensors file cannot hold")
    plain = tensor.detach().resolve_conj().resolve_neg()
    return plain.clone(memory_format=torch.contiguous_format)


def _metadata(inspector: Inspector, target: Target) -> dict[str, str]:
    """Where the tensors come from. The format holds only text."""
    first, length = inspector.forward_positions()
    return {
        "format": "pt",
        "written_by": "llmdbg",
        "model": inspector.debuggee.name,
        "address": target.text,
        "token": str(inspector.event.token),
        "phase": inspector.event.phase.value,
        "positions": f"{first}-{first + length - 1}",
        "prompt_length": str(len(inspector.prompt.ids)),
    }


def _write(path: Path, named: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write to a temporary file first, so that an existing file stays until the new one is complete."""
    from safetensors.torch import save_file

    held: dict[str, Any] = {name: tensor.cpu() for name, tensor in named.items()}
    try:
        with private_replacement(path) as new:
            save_file(held, new, metadata)
    except KeyError as error:
        dtypes = ", ".join(sorted({dtype_name(each.dtype) for each in held.values()}))
        raise CommandError(f"a .safetensors file cannot hold {dtypes}") from error
    except Exception as error:  # safetensors has errors of its own for a file that cannot be written
        reason = (error.strerror if isinstance(error, OSError) else None) or " ".join(str(error).split())
        raise CommandError(f"cannot write {path}: {reason}") from error


def _described(named: dict[str, Tensor]) -> str:
    """`12.mlp float32[1, 13, 576], 29,952 bytes`."""
    shown = [f"{name} {dtype_name(each.dtype)}{list(each.shape)}" for name, each in list(named.items())[:_SHOWN]]
    more = f" and {len(named) - _SHOWN} more" if len(named) > _SHOWN else ""
    return f"{', '.join(shown)}{more}, {sum(each.nbytes for each in named.values()):,} bytes"
