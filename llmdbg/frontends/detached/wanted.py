"""Whether an engine is to outlive its screen: as the command line says, or else the configuration file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.output import is_in_a_page

if TYPE_CHECKING:
    from llmdbg.frontends.wire.engine_link import EngineLink


def stand_if_wanted(detachable: bool | None) -> EngineLink | int | None:
    """Go on in an engine of its own: its link there, and the exit code here; None, at once, if that is not wanted.

    `detachable` is what the command line says; None if it says nothing. A page has no terminal to outlive.
    """
    if detachable is False or is_in_a_page():
        return None
    from llmdbg.frontends.tui.input.preferences import load_preferences

    preferred = load_preferences().detachable
    if not (detachable or preferred.always):
        return None
    from llmdbg.frontends.detached.starting import stand

    return stand(preferred.idle_hours)
