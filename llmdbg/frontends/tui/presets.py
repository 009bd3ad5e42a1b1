"""The ready-made layouts: which panes each opens, by the room there is. Plain values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

WIDE, NARROW, TALL = 100, 70, 36
"""The widths (columns) and heights (lines) from which more panes fit."""

HUGE, HIGH = 160, 45
"""The width (columns) and height (lines) from which three tabs can stand open."""


class Room(IntEnum):
    """How much fits on the screen, from the least."""

    TINY = 0
    """One pane below the tokens."""
    NARROW = 1
    """One beside the stages."""
    SHORT = 2
    """Two beside the stages, or a tab."""
    WIDE = 3
    """Two beside the stages, and two tabs below them."""
    HUGE = 4
    """The same with three tabs."""

    @classmethod
    def of(cls, width: int, height: int) -> Room:
        """The room on a screen of this size in cells."""
        if width >= HUGE and height >= HIGH:
            return cls.HUGE
        if width >= WIDE:
            return cls.WIDE if height >= TALL else cls.SHORT
        return cls.NARROW if width >= NARROW else cls.TINY

    @property
    def most_tabs(self) -> int:
        """How many tabs can stand open."""
        return {Room.WIDE: 2, Room.HUGE: 3}.get(self, 1)


@dataclass(frozen=True, slots=True)
class Preset:
    """One ready-made layout."""

    about: str
    """What it is for, in a few words."""

    keys: str
    """The pane that has the keyboard focus when the layout is chosen."""

    upper: tuple[str, ...]
    """The panes above the tabs, of those that are not tabs."""

    tabs: tuple[str, ...]
    """The front tab, and those that are open too from the room `together` on."""

    side: tuple[str, str]
    """If one pane fits: the one before a stop has candidates, and the one for a stop that has some."""

    alone: Room = Room.TINY
    """The most room in which the stages are hidden, unless they have the keys."""

    beside: frozenset[Room] = frozenset()
    """The rooms in which the upper panes are on the left of the tabs rather than above them; below `HUGE` only where
    the stages are hidden, which would leave too little for either."""

    low: bool = False
    """Whether the upper panes above the tabs get only a few lines."""

    together: Room = Room.HUGE
    """The least room in which all its tabs are open, as many as fit."""

    across: bool = False
    """Whether several tabs are side by side rather than one above the other."""


STANDARD = "standard"
PRESETS = {
    STANDARD: Preset(
        "the tensor and the candidates, explained",
        "stages",
        ("tensor", "candidates"),
        ("explain",),
        ("tensor", "candidates"),
    ),
    "watch": Preset(
        "what the model is about to say, layer by layer",
        "stages",
        ("candidates",),
        ("lens", "log"),
        ("lens", "candidates"),
        low=True,
    ),
    "attention": Preset(
        "which tokens each head reads from",
        "attention",
        (),
        ("attention",),
        ("attention", "attention"),
        alone=Room.WIDE,
    ),
    "numbers": Preset(
        "the tensor's statistics and its values",
        "values",
        ("tensor",),
        ("values", "nan"),
        ("values", "values"),
        alone=Room.NARROW,
        beside=frozenset({Room.NARROW, Room.HUGE}),
    ),
    "source": Preset(
        "the source of the selected frame, and its locals",
        "source",
        (),
        ("source", "locals"),
        ("source", "source"),
        alone=Room.WIDE,
        together=Room.WIDE,
        across=True,
    ),
    "learn": Preset(
        "the explanation, large, with the candidates",
        "explain",
        ("candidates",),
        ("explain",),
        ("explain", "explain"),
        alone=Room.WIDE,
        beside=frozenset({Room.WIDE, Room.HUGE}),
        low=True,
    ),
}
"""The layouts by name, in the order in which a key goes through them."""


def preset_after(name: str) -> str:
    """The name of the next layout; of the first after the last."""
    names = list(PRESETS)
    return names[(names.index(name) + 1) % len(names)]
