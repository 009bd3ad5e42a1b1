"""What a process under another Python does: follow a run, or record one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from llmdbg.debugger.comparison.references.messages import Answer, Failed, Follow, Job
from llmdbg.errors import LlmdbgError

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdbg.debugger.comparison.references.messages import Record
    from llmdbg.engine.debuggee import Debuggee


def work(questions: int, answers: int) -> None:
    """Do the job that is read from one descriptor, and answer on the other. What fails is answered."""
    from llmdbg.models.loading_errors import is_out_of_memory

    def say(answer: Answer) -> None:
        left = memoryview(msgspec.json.encode(answer) + b"\n")
        while left:
            left = left[os.write(answers, left) :]

    with os.fdopen(questions, "rb") as lines:
        job: Job = msgspec.json.decode(lines.readline(), type=Job)
        try:
            if isinstance(job, Follow):
                from llmdbg.debugger.comparison.references.serving import follow

                follow(_opened(job, say), Path(job.folder), lines, say)
            else:
                _record(job, say)
        except LlmdbgError as error:
            say(Failed(str(error)))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            say(Failed("there is not enough memory for it"))


def _opened(job: Follow, say: Callable[[Answer], object]) -> Debuggee:
    from llmdbg.debugger.comparison.references.serving import SignsOfLife
    from llmdbg.frontends.opening import load_for_runs

    loaded, prepare = load_for_runs(job.model, SignsOfLife(say))
    return prepare(loaded, job.prompt, job.settings)


def _record(job: Record, say: Callable[[Answer], object]) -> None:
    from llmdbg.debugger.comparison.references.serving import SignsOfLife, record
    from llmdbg.frontends.arguments import model_spec
    from llmdbg.frontends.comparison_sides import load_side, parse_words
    from llmdbg.frontends.opening import load_for_runs

    options = parse_words(job.words)
    loaded, prepare = load_for_runs(model_spec(options), SignsOfLife(say))
    side = load_side(options, None, loaded)
    record(prepare(loaded, side.prompt, side.settings), Path(job.folder), say)
