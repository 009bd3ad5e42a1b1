"""The order in which a layer's modules run, as observed: the module tree only gives the order of registration."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.models.stages import Stage


def path_in_layer(stage: Stage) -> str:
    """A module's path within its layer; empty for the layer itself."""
    return stage.address.partition(".")[2]


def prefixes(path: str) -> list[str]:
    """Every prefix of a path, from the outside in, ending with the path itself."""
    parts = path.split(".") if path else []
    return [".".join(parts[:length]) for length in range(1, len(parts) + 1)]


class ExecutionOrder:
    """Which module was seen to complete before which, by their paths within a layer. Layers are assumed to be alike."""

    def __init__(self) -> None:
        self._after: dict[str, set[str]] = {}
        self.pairs: frozenset[tuple[str, str]] = frozenset()
        self.sequence: tuple[str, ...] = ()
        """The largest group of modules whose mutual order is known, first to last."""

    @property
    def listed(self) -> tuple[str, ...]:
        """`sequence`, followed by all other modules seen."""
        return (*self.sequence, *(each for each in self._after if each not in self.sequence))

    def see(self, path: str) -> None:
        """Note a module that completed after something unknown."""
        self._after.setdefault(path, set())

    def note(self, before: str, after: str) -> None:
        """Note that one module completed, then another. Ignored if it contradicts what is known."""
        if before == after or (before, after) in self.pairs or (after, before) in self.pairs:
            return
        self._after.setdefault(before, set()).add(after)
        self._after.setdefault(after, set())
        self.pairs = frozenset((one, other) for one in self._after for other in self._reached(one))
        self.sequence = self._sequence()

    def _reached(self, path: str) -> set[str]:
        found: set[str] = set()
        waiting = list(self._after[path])
        while waiting:
            each = waiting.pop()
            if each not in found:
                found.add(each)
                waiting += self._after[each]
        return found

    def _sequence(self) -> tuple[str, ...]:
        earlier = {each: {one for one, other in self.pairs if other == each} for each in self._after}
        groups: list[set[str]] = []
        for each in self._after:
            touching = [group for group in groups if not group.isdisjoint({each, *self._after[each], *earlier[each]})]
            groups = [group for group in groups if group not in touching]
            groups.append({each, *self._after[each], *earlier[each]}.union(*touching))
        largest = max(groups, key=len)
        return tuple(sorted((each for each in self._after if each in largest), key=lambda each: len(earlier[each])))


def known_first(pairs: frozenset[tuple[str, str]], one: str, other: str) -> bool | None:
    """Whether `one` completes before `other`, judged by the paths or those that enclose them; None if unknown."""
    if other.startswith(f"{one}.") or one.startswith(f"{other}."):
        return one.startswith(f"{other}.")
    # What encloses both says nothing: it completes after its parts, whichever comes first.
    common = {*prefixes(one)} & {*prefixes(other)}
    for outer, inner in _crossed(_outside(common, one), _outside(common, other)):
        if (outer, inner) in pairs:
            return True
        if (inner, outer) in pairs:
            return False
    return None


def _outside(common: set[str], path: str) -> list[str]:
    return [each for each in prefixes(path) if each not in common]


def _crossed(ones: list[str], others: list[str]) -> Iterable[tuple[str, str]]:
    return ((one, other) for one in ones for other in others if one != other)
