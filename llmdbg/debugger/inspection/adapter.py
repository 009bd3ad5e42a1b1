"""`info adapter`: at each module that an adapter (PEFT, LoRA) wraps, the base's share and what the adapter added.

The token's forward runs again, as for any question; in a program, which cannot go back, it is measured in passing from
the first question on. What a wrapper returned less what its base returned is what was added, in float64, whatever kind
the adapter is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from llmdbg.debugger.execution.recorder import RecordRequest
from llmdbg.debugger.inspection.adapter_answer import AdapterShare, AdapterShares
from llmdbg.debugger.inspection.timed_runs import forward_of
from llmdbg.engine.debuggee import Capability
from llmdbg.engine.stage_event import StageEvent, main_tensor
from llmdbg.errors import CommandError, UnableError
from llmdbg.formatting import printable
from llmdbg.models.adapters import base_layer
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable

    from torch import Tensor, nn

    from llmdbg.debugger.inspection.inspector import Inspector

_LAST = "logits"


def ask(inspector: Inspector, arguments: str = "") -> AdapterShares | str:
    """Answer `info adapter [ADDRESS]`: of every wrapped module, or of those at and below an address.

    Raises AddressError for an unknown stage, and CommandError if there is no adapter there, or if the debuggee has no
    model, or UnableError if it cannot go back and nothing has been measured yet.
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
    if Capability.GO_BACK in inspector.run.debuggee.capabilities:
        with inspector.replay.elsewhere():
            measured = _measured_again(inspector, token, wanted)
    else:
        measured = _measured_in_passing(inspector, modules)
    rows = [_share(at, wanted[at], *numbers) for at, numbers in _on_host(measured).items() if at in wanted]
    return AdapterShares(token, tuple(rows))


def _measured_again(inspector: Inspector, token: int, modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """What a forward of the token gives: by address, what `_products` returns."""
    take, found = _taker(modules), {}

    def note(event: StageEvent) -> bool:
        address = event.stage.address
        if address == _LAST:
            return True
        if (products := take(event)) is not None:
            found[address] = products
        return False

    with forward_of(inspector, token, {*_watched(modules), _LAST}, note) as run:
        for event in run:
            if event.stage.kind is not StageKind.TOKENIZE:
                break
    return found


def _measured_in_passing(inspector: Inspector, modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    """The same of the modules that have run since this was first asked. Raises UnableError if there are none."""
    request = RecordRequest("adapter", _watched(modules), _taker(modules))
    found = {at: each for at, each in inspector.replay.recorded(request).items() if each is not None}
    if not found:
        name = printable(inspector.run.debuggee.name)
        raise UnableError(f"{name} cannot go back: what this reads is kept from here on, so ask at a later stop")
    return found


def _watched(modules: Iterable[str]) -> frozenset[str]:
    return frozenset(each for address in modules for each in (address, f"{address}.base_layer"))


def _taker(modules: Collection[str]) -> Callable[[StageEvent], Tensor | None]:
    """Measures a wrapper when it has run: what `_products` returns. None of its base, which runs first."""
    bases: dict[str, Tensor] = {}

    def take(event: StageEvent) -> Tensor | None:
        address, output = event.stage.address, main_tensor(event.output)
        if output is None:
            return None
        if address not in modules:
            # A copy: the wrapper may add to the tensor itself.
            bases[address.removesuffix(".base_layer")] = output.detach().clone()
            return None
        base = bases.pop(address, None)
        return _products(base, output) if base is not None and base.shape == output.shape else None

    return take


def _on_host(measured: dict[str, Tensor]) -> dict[str, tuple[float, float, float]]:
    """By address: the norms of the base's output and of what was added, and their product. One copy to the host."""
    if not measured:
        return {}
    device = next(iter(measured.values())).device
    numbers = torch.stack([each.to(device) for each in measured.values()]).tolist()
    return {address: (row[0], row[1], row[2]) for address, row in zip(measured, numbers, strict=True)}


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
