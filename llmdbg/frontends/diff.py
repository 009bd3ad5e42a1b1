"""`llmdbg diff REFERENCE CANDIDATE`: two runs compared, and the verdict as an exit code."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.formatting import quote
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_run_options
from llmdbg.frontends.comparison_sides import compare_sides, open_sides, parse_side

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import Comparison

_EPILOG = """\
REFERENCE and CANDIDATE are each a model with its own options in quotes, or the folder of a recording. Options outside
the quotes are for both. Against a recording, a model takes the recorded prompt and settings unless some are given.

examples:
  llmdbg diff smollm2 "smollm2 --dtype bfloat16" -p "Once upon a time"
  llmdbg diff "FOLDER --attn eager" "FOLDER --attn sdpa" -p Hi --json
  llmdbg diff RUN "smollm2 --dtype float16"                a recording (llmdbg record) against a model
  llmdbg diff FOLDER OTHER_FOLDER --chat -p Hi -n 32

exit code: 0 the same (bitwise, or within the arithmetic), 1 diverged, 2 trouble
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
        found = _compare(options, arguments)
    except LlmdbgError as error:
        # Trouble is 2 here, since 1 says that the runs diverge.
        error.exit_code = 2
        raise
    _tell(found, options)
    return int(_fails(found, FailOn(options.fail_on)))


def _parser() -> argparse.ArgumentParser:
    options = output.Parser(
        prog="llmdbg diff",
        description="Find the first stage that differs between two runs, and tell a fault from rounding.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_argument("reference", metavar="REFERENCE", help="the run that is taken for right")
    options.add_argument("candidate", metavar="CANDIDATE", help="the run that is held against it")
    add_run_options(options)
    group = options.add_argument_group("comparing")
    group.add_argument(
        "--fail-on",
        choices=[str(each.value) for each in FailOn],
        default=FailOn.DIVERGENCE.value,
        help="what makes the exit code 1 (default divergence, that is what rounding does not explain)",
    )
    group.add_argument(
        "--map",
        action="append",
        default=[],
        metavar="NAME=NAME+…",
        help="what a module of the candidate is in the reference, if that is not found: qkv_proj=q_proj+k_proj+v_proj",
    )
    group.add_argument("--json", action="store_true", help="one JSON object instead of text")
    return options


def _compare(options: argparse.Namespace, arguments: Sequence[str]) -> Comparison:
    shared = _shared(options, arguments)
    given = dict(map(_pair, options.map))
    sides = [parse_side(text, shared) for text in (options.reference, options.candidate)]
    from llmdbg.frontends.log import route_transformers
    from llmdbg.models.libraries import start_libraries

    def report(doing: str) -> None:
        output.narrate(f"llmdbg diff: {doing}")

    report("starting Python libraries")
    start_libraries(lambda _: None, before_models=route_transformers)
    return compare_sides(*open_sides(*sides), report, given)


def _pair(text: str) -> tuple[str, tuple[str, ...]]:
    """A module's name and those it is made of in the reference. Raises UsageError."""
    name, equals, parts = text.partition("=")
    names = tuple(parts.split("+"))
    if not (name and equals and all(names)):
        raise UsageError(f"--map takes NAME=NAME+NAME…, such as qkv_proj=q_proj+k_proj+v_proj, not {quote(text)}")
    return name, names


def _shared(options: argparse.Namespace, arguments: Sequence[str]) -> list[str]:
    """The options outside the quotes, which are for both sides."""
    own = output.Parser(add_help=False, allow_abbrev=False)
    own.add_argument("--fail-on")
    own.add_argument("--map")
    own.add_argument("--json", action="store_true")
    _, others = own.parse_known_args(list(arguments))
    for side in (options.reference, options.candidate):
        others.remove(side)
    return others


def _tell(found: Comparison, options: argparse.Namespace) -> None:
    from llmdbg.frontends.answers.writers import json_value, lines

    if options.json:
        output.write_json({"event": "diff", **json_value(found)})
    else:
        output.write_lines(lines(found))


def _fails(found: Comparison, fail_on: FailOn) -> bool:
    from llmdbg.debugger.comparison.outcome import Verdict

    if fail_on is FailOn.DIFFERENCE:
        return found.verdict is not Verdict.SAME
    if fail_on is FailOn.TEXT:
        return found.parting is not None
    return found.verdict is Verdict.DIVERGED
