"""Branches: timelines that share their first tokens, and where each was left."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmdbg.debugger.editing.edits import Edits
from llmdbg.debugger.execution.trace import BEGINNING, ExecutionTrace, TimelinePosition
from llmdbg.debugger.limits import MOST_BRANCHES
from llmdbg.display import Displayed, short
from llmdbg.errors import CommandError
from llmdbg.formatting import counted, listed

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.debuggee import Timeline
    from llmdbg.probes.candidates import Candidates


@dataclass(slots=True)
class Branch:
    """One timeline, with what is known about it."""

    number: int
    """Its number, from 1."""
    name: str
    """Its name, unique in the session."""
    parent: Branch | None
    """The branch it forked from; None for the first."""
    fork: int
    """The first generated token of its own, counted from 0."""
    why: str
    """What made it fork, such as `force " is"`; empty for the first."""
    timeline: Timeline
    """Its tokens, and the debuggee's state for going back to them."""
    place: TimelinePosition = BEGINNING
    """Where the run stood when the branch was left."""
    trace: ExecutionTrace = field(default_factory=ExecutionTrace)
    """The order in which its stages ran."""
    probabilities: dict[int, Tensor | float] = field(default_factory=dict)
    """The model's own probability of each chosen token, by generated token; a scalar tensor until it is first read."""
    edits: Edits = field(default_factory=Edits)
    """Its edits."""
    fingerprints: dict[TimelinePosition, Tensor] = field(default_factory=dict)
    """A hash of the bits (int64, on the device) of the output of each stage where the run stopped."""
    candidates: dict[int, Candidates] = field(default_factory=dict)
    """What each token was chosen from, by generated token, where the run stopped at its choice."""

    def forget_from(self, token: int) -> None:
        """Drop fingerprints, probabilities and candidates from `token` on, which may change."""
        self.fingerprints = {place: mark for place, mark in self.fingerprints.items() if place.token < token}
        self.probabilities = {at: prob for at, prob in self.probabilities.items() if at < token}
        self.candidates = {at: found for at, found in self.candidates.items() if at < token}


@dataclass(frozen=True, slots=True, repr=False)
class BranchRow(Displayed):
    """A branch as front ends see it."""

    number: int
    """Its number, from 1."""
    name: str
    """Its name."""
    parent: int | None
    """The number of the branch it forked from; None for the first."""
    depth: int
    """How many forks lie above it."""
    fork: int
    """The first generated token of its own, counted from 0."""
    why: str
    """What made it fork; empty for the first."""
    current: bool
    """Whether the run is on it."""
    place: TimelinePosition
    """Where the run stands in it, or stood when it was left."""
    ids: tuple[int, ...]
    """The ids of its own tokens, from `fork` on."""
    text: str
    """Those ids, decoded."""

    def __repr__(self) -> str:
        parent = "" if self.parent is None else f" from token {self.fork} of branch {self.parent}, {self.why}"
        state = f"{'current, ' if self.current else ''}at {self.place.address}@{self.place.token}"
        return (
            f"<Branch {self.number} {self.name}{parent}: {counted(len(self.ids), 'token')} {short(self.text)}, {state}>"
        )


class Branches:
    """All branches of a session, numbered from 1, and which one runs. A number is never reused."""

    def __init__(self, timeline: Timeline) -> None:
        self.current = Branch(1, "main", None, 0, "", timeline)
        self._all = [self.current]
        self._next_number = 2
        self._names = {self.current.name}

    def __iter__(self) -> Iterator[Branch]:
        """Every branch, in the order they were made."""
        return iter(self._all)

    def fork(self, timeline: Timeline, token: int, why: str, name: str | None = None) -> Branch:
        """Fork the current branch at `token` and make the new one current. Raises CommandError for a taken name.

        Without a name it gets one that no branch has had before.
        """
        number = self._next_number
        name = name or next(free for n in itertools.count(number) if (free := f"b{n}") not in self._names)
        self.refuse(name)
        here = self.current
        self.current = Branch(number, name, here, token, why, timeline)
        self.current.trace.learn_from(here.trace, token)
        self.current.edits = here.edits.copy()
        self.current.fingerprints = dict(here.fingerprints)
        self.current.forget_from(token)
        self.current.probabilities = {at: prob for at, prob in here.probabilities.items() if at < token}
        self.current.candidates = {at: found for at, found in here.candidates.items() if at < token}
        self._all.append(self.current)
        self._next_number = number + 1
        self._names.add(name)
        return self.current

    def put_back(self, branches: Iterable[Branch], current: Branch) -> None:
        """Replace all branches by these."""
        self._all, self.current = list(branches), current
        self._next_number = max(self._next_number, *(each.number + 1 for each in self._all))
        self._names.update(each.name for each in self._all)

    def find(self, word: str) -> Branch:
        """Find a branch by name or number. Raises CommandError."""
        for each in self._all:
            if word in (each.name, str(each.number)):
                return each
        names = ", ".join(each.name for each in self._all)
        raise CommandError(f"there is no branch {word!r} (there are: {names})")

    def refuse(self, name: str | None) -> None:
        """Raise CommandError if a new branch cannot have this name, or there are as many branches as there may be."""
        if len(self._all) >= MOST_BRANCHES:
            raise CommandError(f"there are {MOST_BRANCHES} branches, and no more are kept: `run` begins with one")
        if any(each.name == name for each in self._all):
            raise CommandError(f"there is a branch {name!r} already: `switch {name}` goes there")

    def drop(self, branch: Branch, back_to: Branch) -> None:
        """Remove a branch whose run failed, and make `back_to` current. Nobody has seen it: its number is free."""
        self._all.remove(branch)
        self.current, self._next_number = back_to, branch.number
        self._names.discard(branch.name)

    def family(self, branch: Branch) -> tuple[Branch, ...]:
        """A branch, and those that parted from it or from one of them, in the order they were made."""
        family = {branch.number}
        for each in self._all:
            if each.parent is not None and each.parent.number in family:
                family.add(each.number)
        return tuple(each for each in self._all if each.number in family)

    def delete(self, branch: Branch, *, with_children: bool) -> tuple[Branch, ...]:
        """Delete a branch. Returns what is gone.

        Raises CommandError for a branch that the run is on or came from, and, unless `with_children`, for one that
        others parted from.
        """
        family = self.family(branch)
        if branch is self.current:
            raise CommandError(f"the run is on branch {branch.name}: `switch` to another one first")
        if self.current in family:
            raise CommandError(
                f"{branch.name} stays: branch {self.current.name}, which the run is on, parted from {branch.name}"
            )
        if len(family) > 1 and not with_children:
            children = listed([each.name for each in family[1:]], "and")
            whole = "both" if len(family) == 2 else "all"
            raise CommandError(f"{children} parted from {branch.name}: `drop {branch.name} all` deletes {whole}")
        self._all = [each for each in self._all if each not in family]
        return family

    def tree(self) -> list[tuple[Branch, int]]:
        """Every branch with its depth, each after its parent."""
        children: dict[int | None, list[Branch]] = {}
        for each in self._all:
            children.setdefault(None if each.parent is None else each.parent.number, []).append(each)
        rows: list[tuple[Branch, int]] = []
        waiting = [(each, 0) for each in reversed(children.get(None, []))]
        # Not recursive: branches may be nested arbitrarily deep.
        while waiting:
            branch, depth = waiting.pop()
            rows.append((branch, depth))
            waiting += [(each, depth + 1) for each in reversed(children.get(branch.number, []))]
        return rows
