"""A recording of a run that another Python makes in a process of its own."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.references.messages import Record
from llmdbg.debugger.comparison.references.process import OtherProcess
from llmdbg.traces.reader import Trace

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.references.process import Elsewhere


def record_elsewhere(asked: Elsewhere, words: Sequence[str]) -> Trace:
    """Record what the command line `words` of a side runs, with every tensor.

    The files live as long as the result. Raises GenerationError, in one line, if it cannot be.
    """
    process = OtherProcess(asked.python, asked.program)
    try:
        folder = process.folder / "run"
        process.begin(Record(tuple(words), str(folder)))
        process.answer()
        trace = Trace.open(folder)
    except BaseException:
        process.close()
        raise
    # The folder is the process's, which has nothing more to do but to have it removed.
    weakref.finalize(trace, process.close)
    return trace
