"""Feeding one run's stages with another run's values.

In a grafted run every stage returns the reference's output, in the run's own dtype and layout. So what reaches a stage
is what reached the reference's, and the difference that a stage shows is its own: a module's arithmetic and weights,
or, for a module made of others, what it does between them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.debugger.comparison.fitting import fitted, fitted_scores, pasted
from llmdbg.debugger.comparison.mask_fitting import fitted_masks
from llmdbg.debugger.comparison.noise import Noise
from llmdbg.debugger.comparison.stage_errors import ErrorTable
from llmdbg.debugger.comparison.tensor_tree import is_plain, tensors_of, with_tensors

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from torch import Tensor, nn

    from llmdbg.debugger.comparison.branch_edits import BoundEdits
    from llmdbg.debugger.comparison.lockstep import StageValues
    from llmdbg.debugger.comparison.mask_fitting import FittedMasks
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy


class Following:
    """Compares a run with the reference, stage by stage, on its own way there: accumulated errors.

    `padding` is how many positions more than the reference the run has in front of its prompt. `repaired` are errors of
    a stage by token and call, as `OwnErrors` keeps them, which are taken back as the stage runs.
    """

    def __init__(self, padding: int = 0, repaired: OwnErrors | None = None) -> None:
        self.errors = ErrorTable()
        self._padding = padding
        self._repaired = repaired

    def __call__(self, event: StageEvent, reference: StageValues | None) -> None:
        """Note how far the event's values are from the reference's."""
        if self._repaired is not None:
            event.output = self._repaired.taken_back(event)
        if reference is not None:
            self.errors.add((event.token, event.stage.address), paired(event.output, reference.output, self._padding))


@dataclass(frozen=True, slots=True)
class _Own:
    """What one call of a stage adds to one tensor of the reference's."""

    difference: Tensor | None
    """What to take off; None if `instead` says it all."""
    instead: Tensor | None
    """The reference's values, which stand where `difference` is not finite; None if it is finite everywhere."""

    def taken_back(self, tensor: Tensor) -> Tensor:
        known = self.instead if self.difference is None else self.difference
        if known is None or known.shape != tensor.shape:
            return tensor
        if self.difference is None or self.instead is None:
            return known if self.difference is None else tensor - known
        return torch.where(self.difference.isfinite(), tensor - self.difference, self.instead)


class OwnErrors:
    """What some stages add by themselves to the reference's values: by token, for each of their calls in order.

    What a module adds between its parts may show in what they return: a part's output then has an error of each.
    """

    def __init__(self, addresses: Collection[str]) -> None:
        self.addresses = frozenset(addresses)
        self._kept: dict[tuple[int, str], dict[str, list[dict[str, _Own]]]] = {}
        self._calls: dict[tuple[int, str], int] = {}

    def keep(self, event: StageEvent, output: Any, expected: Any, padding: int, owner: str | None = None) -> None:
        """Keep the difference of a call's output from what is expected. Waits for the device.

        `owner` is the stage that adds it; None for the event's own.
        """
        theirs = tensors_of(expected)
        found = {}
        for path, ours in tensors_of(output).items():
            if path in theirs:
                values = pasted(ours, theirs[path], padding)
                if (own := _own(ours, values)) is not None:
                    found[path] = own
        by_owner = self._kept.setdefault((event.token, event.stage.address), {})
        by_owner.setdefault(event.stage.address if owner is None else owner, []).append(found)

    def differing(self) -> frozenset[str]:
        """The stages that add anything, a single bit, by themselves."""
        return frozenset(owner for owners in self._kept.values() for owner, calls in owners.items() if any(calls))

    def places(self) -> frozenset[str]:
        """The stages whose outputs have something to take back."""
        return frozenset(address for (_, address), owners in self._kept.items() if owners)

    def only(self, addresses: Collection[str]) -> OwnErrors:
        """Those of some of the stages, to be taken back in another run. Shares the tensors."""
        other = OwnErrors(addresses)
        for where, owners in self._kept.items():
            other._kept[where] = {owner: calls for owner, calls in owners.items() if owner in other.addresses}
        return other

    def taken_back(self, event: StageEvent) -> Any:
        """The event's output without what its stage adds by itself; the output itself at any other stage."""
        where = (event.token, event.stage.address)
        call = self._calls.get(where, 0)
        self._calls[where] = call + 1
        output = event.output
        for calls in self._kept.get(where, {}).values():
            if call < len(calls) and calls[call]:
                output = _without(output, calls[call])
        return output


def _without(output: Any, added: Mapping[str, _Own]) -> Any:
    return with_tensors(output, lambda path, each: added[path].taken_back(each) if path in added else each)


def _own(ours: Tensor, expected: Tensor) -> _Own | None:
    """What `ours` has beyond `expected`, a tensor of the same shape and dtype; None if all bits are equal."""
    if torch.equal(ours, expected):
        return None
    if not ours.is_floating_point():
        # Numbers of experts and positions have no difference that could be taken off.
        return _Own(None, expected.clone())
    difference = ours - expected
    return _Own(difference, None if bool(difference.isfinite().all()) else expected.clone())


class Grafted:
    """Compares a run with the reference, every stage on the reference's input: isolated errors.

    `inputs` says how far what reached a stage was from what reached the reference's: the error of the code between the
    stages before it and this one, which belongs to the module around them. `indices` are the stages that integers
    reach which are not the reference's, such as positions, and `masks` those that another attention mask reaches; each
    with what they got first. `other_masks` are those whose masks could not be compared, with both shapes. `own` keeps
    the errors of one stage in full: the stages inside it are not grafted, so that what they add is its own. `noise` is
    a relative change of every value that a stage is given, drawn at random. `edits` are those of the run's branch,
    which apply to a stage that is run once more too. `length` is how many tokens the prompt has, without padding.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        padding: int = 0,
        own: OwnErrors | None = None,
        noise: float = 0.0,
        edits: BoundEdits | None = None,
        length: int | None = None,
    ) -> None:
        self.errors = ErrorTable()
        self.inputs = ErrorTable()
        self.indices: dict[str, tuple[str, Tensor, Tensor]] = {}
        self.masks: dict[str, tuple[str, FittedMasks]] = {}
        self.other_masks: dict[str, tuple[str, tuple[int, ...], tuple[int, ...]]] = {}
        self._padding = padding
        self._own = own
        self._noise = Noise(noise)
        self._edits = edits
        self._length = length
        self._inside = frozenset(
            stage.address
            for stage in anatomy.stages
            if own is not None and any(outer.address in own.addresses for outer in anatomy.enclosing(stage))
        )
        outer = {each.address for stage in anatomy.stages for each in anatomy.enclosing(stage)}
        self._leaves: Mapping[str, nn.Module] = {
            address: module for address, module in anatomy.modules.items() if address not in outer
        }

    def __call__(self, event: StageEvent, reference: StageValues | None) -> None:
        """Note a stage's own error, and let it return what the reference's returned."""
        if reference is None or event.stage.address in self._inside:
            return
        where = (event.token, event.stage.address)
        output = self.isolated(event, reference)
        self.errors.add(where, paired(output, reference.output, self._padding))
        if self._own is not None and event.stage.address in self._own.addresses:
            self._own.keep(event, output, reference.output, self._padding)
        event.output = self.graft(event.output, reference.output)

    def isolated(self, event: StageEvent, reference: StageValues) -> Any:
        """What the stage returns for the reference's input, after noting how far its own input is from that."""
        given = tensors_of((event.args, {key: each for key, each in event.kwargs.items() if is_plain(each)}))
        theirs = tensors_of((reference.args, reference.kwargs))
        self._compare_inputs((event.token, event.stage.address), given, theirs)
        return self._on_the_reference(event, given, theirs)

    def _compare_inputs(self, where: tuple[int, str], given: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
        pairs = []
        for path, ours in given.items():
            name = path.rpartition(".")[2]
            if path in theirs and "mask" in name:
                self._compare_masks(where, name, ours, theirs[path])
                continue
            both = fitted(ours, theirs[path], self._padding) if path in theirs else None
            if both is None:
                continue
            if not ours.is_floating_point():
                if not ours.is_complex() and not torch.equal(both[0], both[1].to(both[0])):
                    self.indices.setdefault(where[1], _kept(name, both))
            else:
                pairs.append(both)
        self.inputs.add(where, pairs)

    def _compare_masks(self, where: tuple[int, str], name: str, ours: Tensor, theirs: Tensor) -> None:
        token, address = where
        length = None if self._length is None else self._length + token
        both = fitted_masks(ours, theirs, self._padding, length)
        if both is None:
            if ours.shape != theirs.shape:
                self.other_masks.setdefault(address, (name, tuple(ours.shape), tuple(theirs.shape)))
        elif not both.equal:
            self.masks.setdefault(address, (name, both))

    def _on_the_reference(self, event: StageEvent, given: dict[str, Tensor], theirs: dict[str, Tensor]) -> Any:
        """What the stage returns for the reference's input: what it has returned, if that is what it was given."""
        module = self._leaves.get(event.stage.address)
        if module is None or given.keys() != theirs.keys() or not is_plain(event.args):
            return event.output
        expected = {path: self._pasted(each, theirs[path]) for path, each in given.items()}
        if all(torch.equal(each, expected[path]) for path, each in given.items()):
            return event.output
        args, kwargs = with_tensors((event.args, dict(event.kwargs)), lambda path, _: expected[path])
        # Past its hooks, which would take it for another stage of the run.
        output = module.forward(*args, **kwargs)
        return output if self._edits is None else self._edits.applied(event, args, kwargs, output)

    def graft(self, ours: Any, theirs: Any) -> Any:
        """What a stage returned, with every tensor replaced by the reference's in our dtype, where the shapes fit."""
        return grafted(ours, theirs, self._pasted)

    def _pasted(self, ours: Tensor, theirs: Tensor) -> Tensor:
        return self._noise.on(pasted(ours, theirs, self._padding))


def grafted(ours: Any, theirs: Any, paste: Callable[[Tensor, Tensor], Tensor]) -> Any:
    """What a stage returned, with every tensor `paste(ours, theirs)` that the reference's has too."""
    values = tensors_of(theirs)
    return with_tensors(ours, lambda path, tensor: paste(tensor, values[path]) if path in values else tensor)


def outermost(addresses: Collection[str], anatomy: Anatomy) -> frozenset[str]:
    """The stages among `addresses` that are inside none of the others."""
    stages = {stage.address: stage for stage in anatomy.stages}
    return frozenset(
        each
        for each in addresses
        if each not in stages or not any(outer.address in addresses for outer in anatomy.enclosing(stages[each]))
    )


def _kept(name: str, both: tuple[Tensor, Tensor]) -> tuple[str, Tensor, Tensor]:
    return name, both[0].detach().clone(), both[1].detach().clone()


_MAIN_OUTPUT = ("", "0")


def paired(ours: Any, theirs: Any, padding: int) -> list[tuple[Tensor, Tensor | None]]:
    """The tensors that two stages returned, by their place, over the positions that both have.

    The second of a pair is None where it has another shape. `padding` is how many positions more are in front of ours.
    """
    values = tensors_of(theirs)
    pairs: list[tuple[Tensor, Tensor | None]] = []
    for path, each in tensors_of(ours).items():
        # Some kernels return more than others: eager attention its weights.
        if path in values:
            both = fitted(each, values[path], padding)
            if both is None and path not in _MAIN_OUTPUT:
                both = fitted_scores(each, values[path], padding)
            pairs.append((each, None) if both is None else both)
    return pairs
