"""What the engine thread asks at each stop, and what a tracepoint logs."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from llmdbg.engine.lockstep import meet_failed
from llmdbg.errors import LlmdbgError, RanksPartedError, UsageError
from llmdbg.frontends.log import record
from llmdbg.frontends.tui.worker.snapshot import Unanswered

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import Stop


def note_trace(stop: Stop) -> None:
    """Send what a tracepoint logs to the log. Runs inside the forward."""
    from llmdbg.frontends.answers.stops import stop_line

    logging.getLogger("llmdbg.trace").warning("%s", stop_line(stop))


def answer_to(question: str, debugger: Debugger, lacking: Any = None) -> Any:
    """The answer to a standing question, or another part of it. A question that fails must not end the run."""
    from llmdbg.debugger.inspection.standing_questions import STANDING_QUESTIONS

    standing = STANDING_QUESTIONS[question]
    try:
        if lacking is None or standing.fetch is None:
            return standing.ask(debugger.inspector)
        return standing.fetch(debugger.inspector, lacking)
    except RanksPartedError:
        raise
    except BaseException as error:
        return unanswered(debugger, error)


def unanswered(debugger: Debugger, error: BaseException) -> Unanswered:
    """The answer of a question that failed; the traceback goes to the log, but for what the user cannot have.

    Raises RanksPartedError if it has not failed alike on every rank.
    """
    meet_failed(debugger.debuggee, error)
    if not isinstance(error, UsageError):
        record(error)
    if isinstance(error, LlmdbgError):
        return Unanswered(str(error))
    return Unanswered(f"{type(error).__name__}: {' '.join(str(error).split())}")
