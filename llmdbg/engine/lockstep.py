"""What the debugger needs of a debuggee that several processes run together, and of a recording of one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.layout import Layout
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.engine.unequal import Fingerprints

Value = TypeVar("Value")


@runtime_checkable
class HeldByRanks(Protocol):
    """A debuggee whose values lie on several ranks, live or in a recording.

    Where it is live, every method is collective: all processes call it, in the same order.
    """

    ranks: int
    """How many ranks there are."""

    @property
    def rank(self) -> int | None:
        """The rank whose own values are shown; None where whole ones are."""

    def choose_rank(self, rank: int | None) -> None:
        """Show what one rank holds from now on, or whole values. Raises CommandError for one that is not there."""

    def as_held(self, event: StageEvent) -> StageEvent:
        """An event as the chosen rank holds it; as it is, with whole values, if none is chosen."""

    def layout(self, event: StageEvent) -> str:
        """How the main output of an event lies on the ranks, in words; empty where there is nothing to say."""

    def layouts(self, event: StageEvent) -> tuple[str, str]:
        """How what a stage was given and what it returned lie on the ranks, in words."""

    def differences(self, event: StageEvent) -> Sequence[str]:
        """What should be equal on all ranks and is not at an event, in sentences, the first one first."""


@runtime_checkable
class InLockstep(HeldByRanks, Protocol):
    """A debuggee that several processes run together, each with a debugger of its own that takes the same commands.

    Every method is collective: all processes call it, in the same order.
    """

    own_rank: int
    """Which of them this one is, from 0."""

    def told(self, value: Any) -> Any:
        """What the first process has for `value`: what is decided by a value is decided once, and told to the others.

        `value` is plain Python.
        """

    def everyones(self, value: Any) -> Sequence[Any]:
        """What each process has for `value`, plain Python, in their order."""

    def part(self, event: StageEvent) -> tuple[Tensor | None, str]:
        """What this process holds of the main output of an event, and which part of it that is, in words."""

    def own_parts(self, event: StageEvent) -> tuple[Sequence[Tensor], Sequence[Tensor]]:
        """The parts of this process of what is split of what a stage was given, and of what it returned."""

    def own_summand(self, event: StageEvent) -> Tensor | None:
        """What this process added to what a stage returned, computed again; None where that is no such sum."""

    def lies(self, event: StageEvent) -> tuple[Sequence[Layout | None], Sequence[Layout | None]] | None:
        """How the tensors of what a stage was given and of what it returned lie, in order.

        None of a tensor whose layout is not known, and None for a stage of which each process holds all.
        """

    def fingerprints(self, event: StageEvent) -> Fingerprints:
        """What should be equal in all processes at an event, as numbers. Does not wait for the device."""

    def tensor_of(self, rank: int, mine: Tensor) -> Tensor:
        """The tensor of one process, a copy, in all of them; `mine` is this one's."""

    def forward_of(self, address: str) -> Callable[..., Any]:
        """What runs a stage's module on whole values and returns a whole one, without its hooks."""

    def unlike_files(self) -> tuple[list[str], int, int]:
        """Sentences on its weights that are not as in their files; how many were compared, how many could not be."""

    def held(self) -> Any:
        """What this process holds of the KV cache."""

    def unlike_ids(self, ids: Sequence[int], held: Any) -> list[tuple[int, str]]:
        """Where `held` is not what `ids` give: the layer, and a sentence. No run may be active."""

    def meet(self, failed: str) -> None:
        """Wait for the others at the end of a command; `failed` is how it failed here, empty if it did not.

        Raises RanksPartedError if it went otherwise there.
        """


def told(debuggee: Debuggee, value: Value) -> Value:
    """What the first process has for `value`, plain Python; the value itself where only one runs. Collective."""
    found: Value = debuggee.told(value) if isinstance(debuggee, InLockstep) else value
    return found


def forward_of(debuggee: Debuggee, address: str) -> Callable[..., Any]:
    """What runs a stage's module on values as events have them and returns such a one, without its hooks."""
    if isinstance(debuggee, InLockstep):
        return debuggee.forward_of(address)
    forward: Callable[..., Any] = debuggee.anatomy.modules[address].forward
    return forward


def meet_failed(debuggee: Debuggee, error: BaseException) -> None:
    """Where several processes run, say that something has failed here, which must have failed alike in the others.

    Raises RanksPartedError if it went otherwise there.
    """
    if isinstance(debuggee, InLockstep):
        debuggee.meet(f"{type(error).__name__}: {error}")
