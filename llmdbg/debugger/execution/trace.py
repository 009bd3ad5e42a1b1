"""The execution trace: the order in which stages completed while each token was produced, as far as it was observed.

Which stages a forward runs, and in what order, is only known by running it. Stepping observes every stage; a run that
continues to a breakpoint observes none in between. A token that is rerun is observed whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.models.stages import SAMPLE, TOKENIZE

if TYPE_CHECKING:
    from llmdbg.engine.stage_event import StageEvent


@dataclass(frozen=True, slots=True)
class TimelinePosition:
    """A point of a timeline: after one run of a stage while a token was produced."""

    token: int
    """The generated token, counted from 0."""
    address: str
    """The stage's address."""
    occurrence: int = 0
    """Which run of the stage within the token, counted from 0."""


BEGINNING = TimelinePosition(0, TOKENIZE.address)


class ExecutionTrace:
    """The orders observed so far, each from its token's first stage, and the run's place in the current token."""

    def __init__(self) -> None:
        self._orders: dict[int, list[str]] = {}
        self._token: int | None = None
        self._here: list[str] = []
        self._seen: dict[str, int] = {}
        self._everything = False
        self._whole = False

    def arm(self, *, everything: bool) -> None:
        """Note whether every stage is armed from now on, or only some."""
        self._everything = everything
        self._whole = self._whole and everything

    def restart(self) -> None:
        """Forget the place in the current token: the run starts again with some token's forward."""
        self._token = None
        self._whole = False

    def learn_from(self, other: ExecutionTrace, token: int) -> None:
        """Copy what is known about the tokens before `token`, where this branch forks from another."""
        self._orders = {at: order for at, order in other._orders.items() if at < token}

    def passed(self, event: StageEvent) -> None:
        """Note an armed stage that has run. Called inside the forward."""
        if event.token != self._token:
            self._token = event.token
            self._whole = self._everything
            self._here, self._seen = [], {}
        address = event.stage.address
        self._seen[address] = self._seen.get(address, -1) + 1
        # Lines and ops come and go with what is armed.
        if self._whole and not event.stage.is_fine:
            self._here.append(address)

    def stopped(self) -> None:
        """The run is suspended: keep this token's order if it is longer than the known one."""
        if self._whole and self._token is not None and len(self._here) > len(self._orders.get(self._token, ())):
            self._orders[self._token] = list(self._here)
        if self._whole and self._token is not None and self._token > 0:
            self._keep_whole_tokens()

    def place(self, event: StageEvent) -> TimelinePosition:
        """The position of an event on the timeline."""
        return TimelinePosition(event.token, event.stage.address, self._seen.get(event.stage.address, 0))

    def order(self, place: TimelinePosition) -> list[str] | None:
        """The stages of `place`'s token up to and including it; None if they were not observed that far."""
        order = self._orders.get(place.token)
        return None if order is None else _up_to(order, place)

    def likely_order(self, place: TimelinePosition) -> list[str] | None:
        """The same order, from other tokens of the same phase; None if there are none or they disagree."""
        others = [order for token, order in self._orders.items() if (token > 0) == (place.token > 0)]
        found = [part for order in others if (part := _up_to(order, place)) is not None]
        return found[0] if found and all(part == found[0] for part in found) else None

    def _keep_whole_tokens(self) -> None:
        """Keep only the newest: the orders of a long run are all alike."""
        if len(self._orders) > 64:
            newest = sorted(self._orders)[-32:]
            self._orders = {token: self._orders[token] for token in newest}


def places(token: int, order: Iterable[str]) -> list[TimelinePosition]:
    """An order of addresses as timeline positions of `token`."""
    seen: dict[str, int] = {}
    found = []
    for address in order:
        seen[address] = seen.get(address, -1) + 1
        found.append(TimelinePosition(token, address, seen[address]))
    return found


def _up_to(order: list[str], place: TimelinePosition) -> list[str] | None:
    left = place.occurrence
    for index, address in enumerate(order):
        if address == place.address:
            if left == 0:
                return order[: index + 1]
            left -= 1
    return None


def last_of(token: int) -> TimelinePosition:
    """The position where a token was chosen."""
    return TimelinePosition(token, SAMPLE.address)
