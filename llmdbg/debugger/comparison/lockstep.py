"""Runs several debuggees side by side, a layer at a time, so that each can be held against the first.

The first is the reference. It runs one layer, leaves the values of every stage in a `StageShelf`, and is suspended
there; then each follower runs the same layer against them. Only one layer's values are kept, however long the prompt.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import torch

from llmdbg.debugger.comparison.fitting import fitted
from llmdbg.debugger.comparison.mapping import NAMESAKES, StageMap
from llmdbg.debugger.comparison.tensor_tree import is_plain, tensors_of, with_tensors
from llmdbg.engine.stage_event import StageEvent
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.errors import LlmdbgError
from llmdbg.models.stages import SAMPLE, TOKENIZE

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import ArmedStages
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage


class HasOverrides(Protocol):
    """A timeline whose tokens can be forced."""

    overrides: dict[int, TokenOverrides]


class Runnable(Protocol):
    """What is run in lockstep: a debuggee, or a single forward. It chooses the tokens that are forced."""

    @property
    def anatomy(self) -> Anatomy:
        """Its stages."""

    @property
    def processors(self) -> Sequence[Stage]:
        """Its logits processors."""

    @property
    def timeline(self) -> HasOverrides:
        """Its tokens."""

    @property
    def stops(self) -> ArmedStages:
        """Where it is suspended."""

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        """Its events, from `tokenize` on. Raises LlmdbgError."""


@dataclass(frozen=True, slots=True)
class StageValues:
    """Copies of what a stage took and returned."""

    output: Any
    """What it returned; its tensors are copies."""
    args: tuple[Any, ...]
    """Its positional arguments; their tensors are copies."""
    kwargs: dict[str, Any]
    """Its keyword arguments without caches; their tensors are copies."""


@dataclass(slots=True)
class StageShelf:
    """The reference's values since the last layer, by token and address, one entry for each call in order."""

    _values: dict[tuple[int, str], list[StageValues]] = field(default_factory=dict)

    def put(self, event: StageEvent) -> None:
        """Copy what a stage took and returned."""
        self.put_output(event, event.output)

    def put_output(self, event: StageEvent, output: Any) -> None:
        """Copy what a stage took, and another output than it returned."""
        values = StageValues(_copied(output), _copied(event.args), _copied(event.kwargs))
        self._values.setdefault((event.token, event.stage.address), []).append(values)

    def get(self, event: StageEvent, address: str, call: int, padding: int = 0) -> StageValues | None:
        """The reference's values of `address` for the `call`-th call of an event's stage; None if it made no such call.

        Of several calls that which was given the same, if any was: experts without tokens are not called at all.
        """
        calls = self._values.get((event.token, address), ())
        if call == 0 and len(calls) == 1:
            return calls[0]
        wanted = sorted(range(len(calls)), key=lambda at: at != call)
        return next((calls[at] for at in wanted if _given_the_same(event, calls[at], padding)), None)

    def clear(self) -> None:
        """Forget every value: all followers have passed it."""
        self._values.clear()


def _given_the_same(event: StageEvent, values: StageValues, padding: int) -> bool:
    """Whether a stage was given what the reference's was, but for rounding. Waits for the device."""
    ours, theirs = (next(iter(tensors_of(each).values()), None) for each in (event.args, values.args))
    if ours is None or theirs is None:
        return ours is theirs
    both = fitted(ours, theirs, padding)
    if both is None:
        return False
    one, other = (each.detach().to(ours.device, torch.float64) for each in both)
    return bool((one - other).norm() <= _ROUNDED * other.norm())


_ROUNDED = 0.1


def _copied(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in value.items() if is_plain(each)}
    # A later operation may write into the tensor.
    return with_tensors(value, lambda _, tensor: tensor.detach().clone()) if is_plain(value) else value


Watcher = Callable[[StageEvent, "StageValues | None"], None]
"""Compares an event with the reference's values of the same stage; may replace the event's output."""


class Follower:
    """One run that follows the reference. `watch` sees each of its stages with the reference's values."""

    def __init__(self, debuggee: Runnable, watch: Watcher, stage_map: StageMap = NAMESAKES, padding: int = 0) -> None:
        """`stage_map` says which of the reference's stages are the counterpart of one of this run's.

        `padding` is how many positions more than the reference it has in front.
        """
        self.debuggee = debuggee
        self._map = stage_map
        self._padding = padding
        self.failure: LlmdbgError | None = None
        """Why it could not follow to the end; None if it did."""
        self.ended = False
        self.last_address: str | None = None
        """The last stage that it has run; None before the first."""
        self._watch = watch
        self._calls: dict[str, int] = {}
        self._token = -1
        self._events: Generator[StageEvent, None, None] | None = None

    def begin(self, shelf: StageShelf, ids: Sequence[int], pauses: frozenset[str]) -> Generator[StageEvent, None, None]:
        """Stand at the prompt, with every stage watched and the tokens forced."""
        self._events = forced_run(self.debuggee, ids, pauses, lambda event: self._seen(event, shelf))
        return self._events

    def follow(self, token: int, address: str) -> None:
        """Run until the reference's pause. What fails is kept, and the run left behind."""
        if self.failure is not None or self.ended:
            return
        assert self._events is not None
        try:
            for event in self._events:
                self.ended = event.ended_by is not None
                if event.token > token or (event.token == token and event.stage.address == address):
                    return
            self.ended = True
        except LlmdbgError as error:
            self.failure = error

    def _seen(self, event: StageEvent, shelf: StageShelf) -> None:
        if event.token != self._token:
            self._token, self._calls = event.token, {}
        address = self.last_address = event.stage.address
        call = self._calls.get(address, 0)
        self._calls[address] = call + 1
        self._watch(event, self._counterpart(event, call, shelf))

    def _counterpart(self, event: StageEvent, call: int, shelf: StageShelf) -> StageValues | None:
        """The reference's values of the stages that stand for this one; None if it has none."""
        names = self._map.names(event.stage.address)
        found = [shelf.get(event, name, call, self._padding) for name in names]
        values = [each for each in found if each is not None]
        if not values or len(values) < len(found):
            return None
        output = self._map.output(event.stage.address, [each.output for each in values])
        return None if output is None else replace(values[0], output=output)


def run_in_lockstep(
    reference: Runnable,
    ids: Sequence[int],
    followers: Sequence[Follower],
    see: Callable[[StageEvent, StageShelf], None] = lambda event, shelf: shelf.put(event),
) -> None:
    """Run the reference over `ids`, and every follower beside it, each with these tokens forced.

    `see` puts the reference's values on the shelf. Raises LlmdbgError if the reference fails; a follower that fails
    keeps its `failure`.
    """
    shelf = StageShelf()
    anatomies = (reference.anatomy, *(each.debuggee.anatomy for each in followers))
    layers = (frozenset(stage.address for stage in anatomy.layers()) for anatomy in anatomies)
    pauses = frozenset.intersection(*layers) | {SAMPLE.address}
    with ExitStack() as stack:
        events = stack.enter_context(closing(forced_run(reference, ids, pauses, lambda event: see(event, shelf))))
        for each in followers:
            stack.enter_context(closing(each.begin(shelf, ids, pauses)))
        for event in events:
            token, address = event.token, event.stage.address
            for each in followers:
                each.follow(token, address)
            shelf.clear()
            if token + 1 >= len(ids) and address == SAMPLE.address:
                return


def watched_addresses(anatomy: Anatomy, processors: Sequence[str]) -> frozenset[str]:
    """Every stage whose values can be held against another run's: all but tokenizing and the choice itself."""
    return frozenset((*(stage.address for stage in anatomy.stages), *processors)) - {TOKENIZE.address, SAMPLE.address}


def forced_run(
    debuggee: Runnable,
    ids: Sequence[int],
    pauses: frozenset[str],
    see: Callable[[StageEvent], None],
    watched: frozenset[str] | None = None,
) -> Generator[StageEvent, None, None]:
    """A run of `debuggee` that chooses `ids` first, pauses at `pauses`, and shows `see` the stages `watched`.

    None stands for every stage.
    """
    debuggee.timeline.overrides = {token: TokenOverrides(force=id) for token, id in enumerate(ids)}
    events = debuggee.events()
    next(events)
    if watched is None:
        watched = watched_addresses(debuggee.anatomy, [stage.address for stage in debuggee.processors])
    debuggee.stops.edit(watched, see)
    debuggee.stops.arm(pauses)
    return events
