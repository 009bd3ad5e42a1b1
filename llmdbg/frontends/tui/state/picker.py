"""A list to pick from while typing: what is typed filters it, the best match first. No widgets."""

from __future__ import annotations

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Choice:
    """One thing to pick."""

    text: str
    """What is matched and shown."""
    do: str
    """What taking it does, as `ACTION ARGUMENT`."""
    about: str = ""
    """What is shown beside it; also matched."""
    also_known_as: str = ""
    """Another text that names it exactly, such as a token's id."""


@dataclass(frozen=True, slots=True)
class Picker:
    """A list to pick from."""

    title: str
    """What it is for: the command."""
    choices: tuple[Choice, ...]
    """Everything that can be picked, in order."""
    typed: str = ""
    """What has been typed so far."""
    at: int = 0
    """How far down the selected row is, counted from 0; beyond the last for the last."""
    as_typed: str = ""
    """The action that takes what is typed, where no choice is meant: it gets the text; empty if only choices may be."""
    waits: str = ""
    """The command line that runs until there is something to pick; empty if it is there."""
    taken: bool = False
    """Whether Enter has been pressed while it waits."""

    def matching(self) -> tuple[Choice, ...]:
        """The choices that match what is typed, the best first, and the typed text itself."""
        ranked = [(rank, each) for each in self.choices if (rank := _rank(self.typed, each)) is not None]
        found = [each for _, each in sorted(ranked, key=lambda pair: pair[0])]
        if not (self.as_typed and self.typed):
            return tuple(found)
        itself = Choice(self.typed, f"{self.as_typed} {self.typed}", "as typed")
        if ranked and min(ranked, key=lambda pair: pair[0])[0] == _EXACT:
            return tuple(found)
        # Quotes, ids and tokens of an address say exactly what is meant.
        precise = self.typed.isdecimal() or any(each in self.typed for each in "\"'@*")
        return (itself, *found) if precise else (*found, itself)

    def picked(self) -> Choice | None:
        """The selected choice; None if nothing matches."""
        found = self.matching()
        return found[min(self.at, len(found) - 1)] if found else None

    def moved(self, by: int) -> Picker:
        """With the selection further down. While it waits there may be any number of rows to come."""
        last = len(self.matching()) - 1 if not self.waits else self.at + max(0, by)
        return replace(self, at=max(0, min(self.at + by, last)))


_EXACT = 0


def _rank(typed: str, choice: Choice) -> int | None:
    """How well a choice matches, 0 for exactly; None if it does not."""
    wanted, text = typed.strip().lower(), choice.text.lower()
    plain = text.strip("\"' ")
    if wanted in (text, plain, choice.also_known_as.lower()) and wanted:
        return _EXACT
    if plain.startswith(wanted) or text.startswith(wanted):
        return 1
    if plain.endswith(wanted):
        return 2
    if wanted in text:
        return 3
    if wanted in choice.about.lower():
        return 4
    letters = iter(text)
    return 5 if all(letter in letters for letter in wanted) else None
