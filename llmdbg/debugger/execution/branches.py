"""Branches: timelines that share a beginning, and where each was left."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmdbg.debugger.editing.edits import Edits
from llmdbg.debugger.execution.trace import BEGINNING, ExecutionTrace, TimelinePosition
from llmdbg.display import Displayed
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.debuggee import Timeline


@dataclass(slots=True)
class Branch:
    """One timeline. `fork` is the first generated token that is its own, `why` what made it part from its parent.

    `place` is where the session stood when it was left; `probabilities` how likely each chosen token was held to be,
    `fingerprints` a hash of the bits of each stage that was stopped at.
    """

    number: int
    name: str
    parent: Branch | None
    fork: int
    why: str
    timeline: Timeline
    place: TimelinePosition = BEGINNING
    trace: ExecutionTrace = field(default_factory=ExecutionTrace)
    probabilities: dict[int, Tensor | float] = field(default_factory=dict)
    edits: Edits = field(default_factory=Edits)
    fingerprints: dict[TimelinePosition, Tensor] = field(default_factory=dict)

    def forget_from(self, token: int) -> None:
        """What comes from `token` on may be other than it was."""
        self.fingerprints = {place: mark for place, mark in self.fingerprints.items() if place.token < token}
        self.probabilities = {at: prob for at, prob in self.probabilities.items() if at < token}


@dataclass(frozen=True, slots=True, repr=False)
class BranchRow(Displayed):
    """A branch as front ends see it. `depth` is how many forks lie above it, `ids` and `text` its own tokens."""

    number: int
    name: str
    parent: int | None
    depth: int
    fork: int
    why: str
    current: bool
    place: TimelinePosition
    ids: tuple[int, ...]
    text: str


class Branches:
    """All branches of a session, numbered from 1, and which one runs."""

    def __init__(self, timeline: Timeline) -> None:
        self.current = Branch(1, "main", None, 0, "", timeline)
        self._all = [self.current]

    def __iter__(self) -> Iterator[Branch]:
        """Every branch, in the order they were made."""
        return iter(self._all)

    def fork(self, timeline: Timeline, token: int, why: str, name: str | None = None) -> Branch:
        """Add a branch that parts from the current one at `token`, and go on with it. Raises CommandError."""
        number = max(each.number for each in self._all) + 1
        taken = {each.name for each in self._all}
        name = name or next(free for n in itertools.count(number) if (free := f"b{n}") not in taken)
        self.refuse_taken(name)
        here = self.current
        self.current = Branch(number, name, here, token, why, timeline)
        self.current.trace.learn_from(here.trace, token)
        self.current.edits = here.edits.copy()
        self.current.fingerprints = dict(here.fingerprints)
        self.current.forget_from(token)
        self.current.probabilities = {at: prob for at, prob in here.probabilities.items() if at < token}
        self._all.append(self.current)
        return self.current

    def put_back(self, branches: Iterable[Branch], current: Branch) -> None:
        """Have these branches and no others."""
        self._all, self.current = list(branches), current

    def find(self, word: str) -> Branch:
        """The branch a name or number stands for. Raises CommandError."""
        for each in self._all:
            if word in (each.name, str(each.number)):
                return each
        names = ", ".join(each.name for each in self._all)
        raise CommandError(f"there is no branch {word!r} (there are: {names})")

    def refuse_taken(self, name: str | None) -> None:
        """Raise CommandError for a name that a branch has."""
        if any(each.name == name for each in self._all):
            raise CommandError(f"there is a branch {name!r} already: `switch {name}` goes there")

    def drop(self, branch: Branch, back_to: Branch) -> None:
        """Forget a branch that came to nothing."""
        self._all.remove(branch)
        self.current = back_to

    def tree(self) -> list[tuple[Branch, int]]:
        """Every branch below its parent, with its depth."""
        children: dict[int | None, list[Branch]] = {}
        for each in self._all:
            children.setdefault(None if each.parent is None else each.parent.number, []).append(each)
        rows: list[tuple[Branch, int]] = []
        waiting = [(each, 0) for each in reversed(children.get(None, []))]
        # Not recursive: branches may be nested as deep as someone likes.
        while waiting:
            branch, depth = waiting.pop()
            rows.append((branch, depth))
            waiting += [(each, depth + 1) for each in reversed(children.get(branch.number, []))]
        return rows
