"""Which panes the user chose, as a saved session keeps it."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from llmdbg.frontends.tui.presets import STANDARD


@dataclass(frozen=True, slots=True)
class View:
    """Which panes the user chose."""

    pane: str = "stages"
    """The pane that has the keyboard focus."""

    side: str = "tensor"
    """The pane beside the stages, if there is room for only one."""

    tab: str = "explain"
    """The front tab."""

    zoomed: bool = False
    """Whether `pane` fills the screen."""

    predictions: bool = True
    """Whether the stages show what each layer would say."""

    layout: str = STANDARD
    """The name of the ready-made layout."""

    pinned: tuple[str, ...] | None = None
    """The tabs that stay open beside the front one, the latest first; None leaves it to the layout."""

    across: bool = False
    """Whether several open tabs are side by side rather than one above the other."""

    def as_saved(self) -> dict[str, object]:
        """As JSON values, for a saved session."""
        return asdict(self)
