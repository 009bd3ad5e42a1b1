"""The lanes of a batch as the tokens pane lists them: the end of each one's text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.engine.debuggee import Vocabulary
    from llmdbg.engine.lanes import LaneFacts

_MOST_TOKENS = 120


@dataclass(frozen=True, slots=True)
class LaneText:
    """One row of a batch."""

    padding: int
    """How many of its first positions are padding."""
    prompt: str
    """The end of its prompt."""
    answer: str
    """The end of what it was fed after that."""


def lane_texts(debugger: Debugger) -> tuple[LaneText, ...]:
    """Every lane, while none of them is chosen; none where one sequence runs."""
    if debugger.lane.count < 2:
        return ()
    return tuple(_text(each, debugger.debuggee.vocabulary) for each in debugger.lane.all())


def _text(lane: LaneFacts, vocabulary: Vocabulary) -> LaneText:
    ids = lane.prompt_ids[-_MOST_TOKENS:]
    # Decoded by itself, what follows would lose a space in front.
    prompt, whole = vocabulary.decode(ids), vocabulary.decode((*ids, *lane.ids)[-_MOST_TOKENS:])
    if not whole.startswith(prompt):
        return LaneText(lane.padding, "", whole)
    return LaneText(lane.padding, prompt, whole[len(prompt) :])
