"""Leaves out of a session what its file could not hold, so that the rest is saved."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec

from llmdbg.debugger.persistence.format import MOST_BYTES, is_readable, to_json
from llmdbg.debugger.persistence.model import SavedBranch, SavedSession
from llmdbg.errors import SessionFileError
from llmdbg.formatting import byte_count, listed

_MOST_NAMED = 4

_Part = tuple[str, int, int]
"""A breakpoint, a branch or an edit: its kind and its indices."""
_LAYOUT: _Part = ("layout", 0, 0)


def fitting_json(saved: SavedSession) -> tuple[str, str]:
    """What `to_json` makes of the session or of most of it, and a sentence on what is left out; empty if nothing is.

    What no file can hold goes first, such as text that is not Unicode; then, while it is larger than a file that is
    read again may be, the largest breakpoint, edit or branch. The current branch stays. Raises SessionFileError where
    what cannot be left out does not fit.
    """
    try:
        text = to_json(saved)
        if len(text) <= MOST_BYTES:
            return text, ""
    except SessionFileError:
        pass
    unreadable = [part for part, value in _parts(saved) if not is_readable(value)]
    left, named = _without(saved, unreadable), _Names(saved)
    said = [named.left_out(unreadable, "which a saved session cannot hold")]
    text, large = to_json(left), list[_Part]()
    while (excess := len(text) - MOST_BYTES) > 0:
        fresh = _largest(left, large, excess)
        if not fresh:
            raise SessionFileError(f"a session of more than {byte_count(MOST_BYTES)} is not saved")
        large += fresh
        text = to_json(_without(left, large))
    # Numbered as in what is left of the session.
    said.append(_Names(left).left_out(large, f"since a saved session holds {byte_count(MOST_BYTES)} at most"))
    return text, "; ".join(filter(None, said))


def _parts(saved: SavedSession) -> Iterator[tuple[_Part, Any]]:
    """All that may be left out. A branch comes without its edits, which are parts of their own."""
    yield _LAYOUT, saved.layout
    for index, point in enumerate(saved.breakpoints):
        yield ("breakpoint", index, 0), point
    for index, branch in enumerate(saved.branches):
        if branch.number != saved.branch:
            yield ("branch", index, 0), replace(branch, edits=())
        for number, edit in enumerate(branch.edits):
            yield ("edit", index, number), edit


def _largest(saved: SavedSession, gone: Collection[_Part], excess: int) -> list[_Part]:
    """The fewest parts whose absence saves `excess` bytes, as far as there are so many."""
    found, branches = list[_Part](), {index for kind, index, _ in gone if kind == "branch"}
    sizes = [
        (len(json.dumps(msgspec.to_builtins(value))), part)
        for part, value in _parts(saved)
        if part not in gone and not (part[0] == "edit" and part[1] in branches)
    ]
    for size, part in sorted(sizes, reverse=True):
        if excess <= 0:
            break
        found.append(part)
        excess -= size
    return found


def _without(saved: SavedSession, gone: Collection[_Part]) -> SavedSession:
    """`saved` without some parts. A branch that forked from one of them forks from that one's parent."""
    parts = frozenset(gone)
    branches = [
        replace(branch, edits=_kept(branch.edits, "edit", parts, index))
        for index, branch in enumerate(saved.branches)
        if ("branch", index, 0) not in parts
    ]
    return replace(
        saved,
        breakpoints=tuple(
            each for index, each in enumerate(saved.breakpoints) if ("breakpoint", index, 0) not in parts
        ),
        branches=_rooted(branches, saved.branches),
        layout={} if _LAYOUT in parts else saved.layout,
    )


def _kept(edits: Sequence[Any], kind: str, gone: frozenset[_Part], branch: int) -> tuple[Any, ...]:
    return tuple(each for index, each in enumerate(edits) if (kind, branch, index) not in gone)


def _rooted(branches: Sequence[SavedBranch], all_of_them: Sequence[SavedBranch]) -> tuple[SavedBranch, ...]:
    """`branches` with the nearest ancestor that is among them as parent."""
    kept, parents = {each.number for each in branches}, {each.number: each.parent for each in all_of_them}

    def nearest(parent: int | None) -> int | None:
        while parent is not None and parent not in kept:
            parent = parents[parent]
        return parent

    return tuple(replace(each, parent=nearest(each.parent)) for each in branches)


class _Names:
    """Names parts of a session as the user knows them."""

    def __init__(self, saved: SavedSession) -> None:
        self._saved = saved

    def left_out(self, parts: Sequence[_Part], why: str) -> str:
        """`breakpoint 3 and branch b2 are left out, …`; empty without any."""
        if not parts:
            return ""
        names = [self._name(*part) for part in sorted(parts)]
        if (more := len(names) - _MOST_NAMED) > 1:
            names = [*names[:_MOST_NAMED], f"{more} more"]
        return f"{listed(names)} {'is' if len(parts) == 1 else 'are'} left out, {why}"

    def _name(self, kind: str, index: int, edit: int) -> str:
        if kind == "layout":
            return "the layout"
        if kind == "breakpoint":
            return f"breakpoint {self._saved.breakpoints[index].number}"
        branch = self._saved.branches[index]
        return f"branch {branch.name}" if kind == "branch" else f"edit {branch.edits[edit].number} of {branch.name}"
