"""`info adapter`: at each module that an adapter (PEFT, LoRA) wraps, the base's share and what the adapter added.

The token's forward runs again, as for any question. What a wrapper returned less what its base returned is what was
added, in float64, whatever kind the adapter is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from llmdbg.debugger.inspection.adapter_answer import AdapterShare, AdapterShares
from llmdbg.debugger.inspection.timed_runs import forward_of
from llmdbg.engine.stage_event import StageEvent, main_tensor
from llmdbg.errors import CommandError
from llmdbg.models.adapters import base_layer
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmdbg.debugger.inspection.inspector import Inspector

_LAST = "logits"


def ask(inspector: Inspector, arguments: str = "") -> AdapterShares | str:
    """Answer `info adapter [ADDRESS]`: of every wrapped module, or of those at and below an address.

    Raises AddressError for an unknown stage, and CommandError if there is no adapter there, or if the debuggee has no
    model or cannot go back.
    """
    inspector.loaded  # noqa: B018  says so where there is no model
    modules = {address: each for address, each in inspector.anatomy.modules.items() if base_layer(each) is not None}
    if not modules:
        return "no adapter is applied to this model: name an adapter's folder as MODEL to run it on its base"
    wanted = modules
    if arguments:
        named = inspector.run.stages.addresses.resolve(arguments).addresses
        wanted = {
            at: each for at, each in modules.items() if at in named or at.startswith(tuple(f"{n}." for n in named))
        }
        if not wanted:
            raise CommandError(f"no adapter is applied at {arguments}: `info adapter` lists where one is")
    token = inspector.event.token
    with inspector.replay.elsewhere():
        measured = _measured(inspector, token, wanted)
    rows = [_share(address, wanted[address], *numbers) for address, numbers in measured.items()]
    return AdapterShares(token, tuple(rows))


def _measured(inspector: Inspector, token: int, modules: dict[str, nn.Module]) -> dict[str, tuple[float, float, float]]:
    """By address: the norms of the base's output and of what was added, and their product. One copy to the host."""
    bases: dict[str, Tensor] = {}
    found: dict[str, Tensor] = {}

    def note(event: StageEvent) -> bool:
        address, output = event.stage.address, main_tensor(event.output)
        if address == _LAST:
            return True
        if output is None:
            return False
        if address in modules:
            if (base := bases.pop(address, None)) is not None and base.shape == output.shape:
                found[address] = _products(base, output)
        else:
            # A copy: the wrapper may add to the tensor itself.
            bases[address.removesuffix(".base_layer")] = output.detach().clone()
        return False

    watched = {*modules, *(f"{address}.base_layer" for address in modules), _LAST}
    with forward_of(inspector, token, watched, note) as run:
        for event in run:
            if event.stage.kind is not StageKind.TOKENIZE:
                break
    if not found:
        return {}
    numbers = torch.stack([each.to(next(iter(found.values())).device) for each in found.values()]).tolist()
    return {address: (row[0], row[1], row[2]) for address, row in zip(found, numbers, strict=True)}


@torch.no_grad()
def _products(base: Tensor, output: Tensor) -> Tensor:
    plain = base.to(torch.float64)
    added = output.detach().to(torch.float64) - plain
    return torch.stack((plain.norm(), added.norm(), (plain * added).sum()))


def _share(address: str, module: Any, base: float, added: float, product: float) -> AdapterShare:
    active = tuple(module.active_adapters)
    first = active[0] if active else None
    rank, scale = (getattr(module, name, {}).get(first) for name in ("r", "scaling"))
    return AdapterShare(
        address,
        active,
        rank if isinstance(rank, int) else None,
        None if scale is None else float(scale),
        bool(module.merged_adapters),
        base,
        added,
        product / (base * added) if base and added else None,
    )
