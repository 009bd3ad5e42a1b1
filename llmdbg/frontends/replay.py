"""`llmdbg replay RUN`: the screen and every command over a recording, without a model."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import UsageError
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_commands, add_detachable, check_detachable, reads_stdin
from llmdbg.traces.foreign.registry import open_trace

if TYPE_CHECKING:
    from llmdbg.traces.reader import Trace

_EPILOG = """\
examples:
  llmdbg replay run                                        step through it, and back, on the screen
  llmdbg replay run --batch --json -b "12 if norm > 100" -ex continue
  llmdbg replay run --batch -ex "goto logits@3" -ex "info candidates"

RUN is a folder that `llmdbg record` has written, or a dump of another tool
(docs/foreign-dumps.md). Its stages can be gone to in any order; what was not recorded is said
to be missing. A replay is not saved as a session: the recording is there already.
"""


def replay(arguments: Sequence[str]) -> int:
    """Debug a recording. Returns the exit code. Raises LlmdbgError."""
    options = _parser().parse_args(arguments)
    if options.json and not options.batch:
        raise UsageError("--json goes with --batch: add --batch")
    reads_stdin(options)
    check_detachable(options)
    if not options.batch and not output.has_a_screen():
        raise UsageError("the screen needs a terminal: add --batch to run without one")
    return _batch(options, open_trace(Path(options.run))) if options.batch else _screen(options)


def _parser() -> argparse.ArgumentParser:
    options = output.Parser(
        prog="llmdbg replay",
        description="Debug a recording: every stage of the run it was, without the model.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_argument("run", metavar="RUN", help="the folder of a recording, or a foreign dump")
    group = options.add_argument_group("debugging")
    add_commands(group, stdin=True)
    add_detachable(group)
    group.add_argument("--batch", action="store_true", help="no screen; without commands, trace to the end")
    group.add_argument("--json", action="store_true", help="with --batch: one JSON object per line")
    return options


def _batch(options: argparse.Namespace, trace: Trace) -> int:
    from llmdbg.frontends.batch.checks import parse_commands
    from llmdbg.frontends.batch.launch import run_commands
    from llmdbg.frontends.batch.run import FromStdin

    commands = parse_commands((*(f"break {address}" for address in options.breakpoints), *options.commands))
    from llmdbg.frontends.opening import open_recording

    stdin = FromStdin(options.keep_going) if reads_stdin(options) else None
    return run_commands(open_recording(trace), commands, json=options.json, stdin=stdin)


def _screen(options: argparse.Namespace) -> int:
    from llmdbg.frontends.detached.wanted import stand_if_wanted
    from llmdbg.frontends.tui.start import run
    from llmdbg.frontends.tui.worker.replay_request import replay_request

    link = stand_if_wanted(options.detachable)
    if isinstance(link, int):
        return link
    trace = open_trace(Path(options.run))
    return run(replay_request(trace, tuple(options.breakpoints), tuple(options.commands)), link)
