"""The way a run took: in which order stages completed while each token was produced, as far as anyone has watched.

Which stages a forward runs, and in what order, is only known by running it. Whoever steps sees every stage; a run that
goes on to a breakpoint sees none of those between. A token that is run again is watched whole.
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
    """A point of a timeline: after the `occurrence`-th run (from 0) of a stage while `token` was produced."""

    token: int
    address: str
    occurrence: int = 0


BEGINNING = TimelinePosition(0, TOKENIZE.address)


class ExecutionTrace:
    """The orders seen so far, each from its token's beginning, and where the run is in the present one."""

    def __init__(self) -> None:
        self._orders: dict[int, list[str]] = {}
        self._token: int | None = None
        self._here: list[str] = []
        self._seen: dict[str, int] = {}
        self._everything = False
        self._whole = False

    def arm(self, *, everything: bool) -> None:
        """From now on every stage is watched, or only some."""
        self._everything = everything
        self._whole = self._whole and everything

    def restart(self) -> None:
        """The run begins anew with some token's forward."""
        self._token = None
        self._whole = False

    def learn_from(self, other: ExecutionTrace, token: int) -> None:
        """Take over what is known of the tokens before `token`, where this route parts from another."""
        self._orders = {at: order for at, order in other._orders.items() if at < token}

    def passed(self, event: StageEvent) -> None:
        """A watched stage has run. Called inside the forward."""
        if event.token != self._token:
            self._token = event.token
            self._whole = self._everything
            self._here, self._seen = [], {}
        address = event.stage.address
        self._seen[address] = self._seen.get(address, -1) + 1
        if self._whole:
            self._here.append(address)

    def stopped(self) -> None:
        """The run stands still: what has been seen of this token is worth keeping where it is more than was known."""
        if self._whole and self._token is not None and len(self._here) > len(self._orders.get(self._token, ())):
            self._orders[self._token] = list(self._here)
        if self._whole and self._token is not None and self._token > 0:
            self._keep_whole_tokens()

    def place(self, event: StageEvent) -> TimelinePosition:
        """Where an event is."""
        return TimelinePosition(event.token, event.stage.address, self._seen.get(event.stage.address, 0))

    def order(self, place: TimelinePosition) -> list[str] | None:
        """The stages of `place`'s token up to there, itself included; None when nobody has watched that far."""
        order = self._orders.get(place.token)
        return None if order is None else _up_to(order, place)

    def likely_order(self, place: TimelinePosition) -> list[str] | None:
        """The same as another token of the same phase took it, None while there is none or they were not alike."""
        others = [order for token, order in self._orders.items() if (token > 0) == (place.token > 0)]
        found = [part for order in others if (part := _up_to(order, place)) is not None]
        return found[0] if found and all(part == found[0] for part in found) else None

    def _keep_whole_tokens(self) -> None:
        """A long run's orders are all alike: keep one of each, and the newest."""
        if len(self._orders) > 64:
            newest = sorted(self._orders)[-32:]
            self._orders = {token: self._orders[token] for token in newest}


def places(token: int, order: Iterable[str]) -> list[TimelinePosition]:
    """An order as places."""
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
    """Where a token was chosen."""
    return TimelinePosition(token, SAMPLE.address)
