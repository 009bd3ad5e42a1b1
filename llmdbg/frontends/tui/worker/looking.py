"""Looks at a stage of the current token at which the run does not stand, and describes it as it ran."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.frontends.tui.worker.snapshot import Snapshot


def look_at(debugger: Debugger, address: str, shown: Snapshot, answers: Callable[[], dict[str, Any]]) -> Snapshot:
    """`shown`, with the stop and the panes' answers as they were at an earlier stage of its token.

    `answers` asks the panes' questions where the run stands. Raises LlmdbgError if the stage cannot be reached again,
    and for a forward that is too long to be rerun for a look.
    """
    if debugger.inspector.is_long():
        raise CommandError(f"the prompt is too long to run it again for a look: Enter goes to {address}")
    asked = debugger.inspector.asked
    before = copy.deepcopy((asked.values, asked.last_answers))
    try:
        with debugger.replay.standing_at(address) as stop:
            return replace(shown, stop=stop, asked=answers())
    finally:
        # Where the values pane had got to, and what was asked of the stop, is still about the stop.
        asked.values, asked.last_answers = before
