"""`llmdbg diff REFERENCE CANDIDATE`: two runs compared, and the verdict as an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import GenerationError, LlmdbgError, UsageError
from llmdbg.formatting import quote
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_run_options
from llmdbg.frontends.comparison_sides import check_sides, command_words, compare_sides, open_sides, parse_side
from llmdbg.frontends.diff_output import DiffProgress, hint, write_comparison
from llmdbg.frontends.session_sides import add_session

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import Comparison

_EPILOG = """\
REFERENCE and CANDIDATE are each a model, with options of its own in quotes, or
the folder of a recording (llmdbg record). Options outside of the quotes are for
both. Without -n, 16 tokens are generated; against a recording, a model takes the
recorded prompt and settings unless some are given. A branch of a saved session is
a side too ("--session ID --branch NAME"), with its edits and forced tokens, and
--python PATH within the quotes runs a side in another process, under the Python
of another environment.

The output begins with the verdict:
  same                        every value is bitwise equal
  same within the arithmetic  no stage differs by more than rounding explains
  first differs at STAGE      that stage returns something else even on the
                              reference's own input

examples:
  llmdbg diff smollm2 "smollm2 --dtype bfloat16" -p "Once upon a time"
  llmdbg diff "FOLDER --attn eager" "FOLDER --attn sdpa" -p Hi --json
  llmdbg diff RUN "smollm2 --dtype float16"
  llmdbg diff FOLDER OTHER -p Hi --bisect
  llmdbg diff "--branch main" "--branch b2" --session last
  llmdbg diff FOLDER OTHER --chat -p Hi -n 32 --html report.html

exit code:
  0  the same, bitwise or within the arithmetic
  1  diverged; --fail-on says what counts as that
  2  the comparison could not be made
"""


class FailOn(StrEnum):
    """What makes `diff` exit with 1."""

    DIVERGENCE = "divergence"
    """A difference that rounding does not explain."""
    TEXT = "text"
    """Texts that part."""
    DIFFERENCE = "difference"
    """Any difference: a single bit."""


def diff(arguments: Sequence[str]) -> int:
    """Compare two runs. Returns 0 if they are the same, 1 if they diverge; raises LlmdbgError with exit code 2."""
    options = _parser().parse_args(arguments)
    try:
        sides = parse_side(options, "reference"), parse_side(options, "candidate")
        check_sides(*sides, bisects=options.bisect)
        if options.map and all(each.recording is not None for each in sides):
            raise UsageError("--map is for a model's modules, and both sides are recordings: leave out --map")
        if options.screen:
            from llmdbg.frontends.side_by_side import show

            return show(*sides)
        if options.html is not None:
            from llmdbg.frontends.reports.files import check_report_file

            check_report_file(options.html)
        found = _compare(options, sides)
        _tell(found, options, sides[1])
    except LlmdbgError as error:
        # Trouble is 2 here, since 1 says that the runs diverge.
        error.exit_code = 2
        raise
    return int(_fails(found, FailOn(options.fail_on)))


def _parser() -> argparse.ArgumentParser:
    options = output.Parser(
        prog="llmdbg diff",
        description="Find the first stage that differs between two runs, and tell a fault from rounding.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_argument("reference", metavar="REFERENCE", help="the run that is taken to be right")
    options.add_argument("candidate", metavar="CANDIDATE", help="the run that is compared with it")
    add_run_options(options)
    add_session(options.add_argument_group("saved sessions"))
    group = options.add_argument_group("comparing")
    group.add_argument(
        "--fail-on",
        choices=[str(each.value) for each in FailOn],
        default=FailOn.DIVERGENCE.value,
        help="what makes the exit code 1: divergence, what rounding does not explain (the default); text, texts that "
        "part, even by rounding; difference, a single bit",
    )
    group.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=NAME+…",
        help="which of the reference's modules one of the candidate's stands for, where that is not found: "
        "qkv_proj=q_proj+k_proj+v_proj",
    )
    group.add_argument(
        "--bisect",
        action="store_true",
        help="look for the smallest set of stages that repairs the candidate's answer, which runs it many times more",
    )
    group.add_argument("--html", metavar="FILE", type=Path, help="write a report as one HTML page too")
    group.add_argument(
        "--screen", action="store_true", help="step through the candidate on the screen, with the reference beside it"
    )
    group.add_argument("--json", action="store_true", help="one JSON object instead of text")
    group.add_argument("-q", "--quiet", action="store_true", help="no progress and no hints on stderr")
    return options


def _compare(options: argparse.Namespace, sides: tuple[argparse.Namespace, argparse.Namespace]) -> Comparison:
    given = dict(map(_pair, options.map))
    from llmdbg.frontends.log import route_transformers
    from llmdbg.models.libraries import start_libraries

    with DiffProgress(quiet=options.quiet) as report:
        report("starting Python libraries")
        start_libraries(lambda _: None, before_models=route_transformers)
        from llmdbg.models.loading_errors import is_out_of_memory

        try:
            return compare_sides(*open_sides(*sides, report), report, given, bisects=options.bisect)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            raise GenerationError(
                f"there is not enough memory for {report.doing}: compare fewer tokens (-n) or a shorter prompt"
            ) from error


def _pair(text: str) -> tuple[str, tuple[str, ...]]:
    """A module's name and those it is made of in the reference. Raises UsageError."""
    name, equals, parts = text.partition("=")
    names = tuple(parts.split("+"))
    if not (name and equals and all(names)):
        raise UsageError(f"--map takes NAME=NAME+NAME…, such as qkv_proj=q_proj+k_proj+v_proj, not {quote(text)}")
    return name, names


def _tell(found: Comparison, options: argparse.Namespace, candidate: argparse.Namespace) -> None:
    from llmdbg.frontends.answers.writers import json_value

    if options.json:
        output.write_json({"event": "diff", **json_value(found)})
    else:
        write_comparison(found)
    if options.html is not None:
        from llmdbg.frontends.reports.files import write_report

        said = write_report(found, options.html)
        if not options.quiet:
            output.narrate(f"llmdbg diff: {said}")
    if options.quiet or options.json:
        return
    if text := hint(found, command_words(candidate), html=options.html is not None):
        output.narrate(f"llmdbg diff: {text}")


def _fails(found: Comparison, fail_on: FailOn) -> bool:
    from llmdbg.debugger.comparison.outcome import Verdict

    if fail_on is FailOn.DIFFERENCE:
        return found.verdict is not Verdict.SAME
    if fail_on is FailOn.TEXT:
        return found.parting is not None
    return found.verdict is Verdict.DIVERGED
