"""`llmdbg run`: the options, and what is run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.errors import UsageError
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_commands, add_detachable, check_detachable
from llmdbg.frontends.batch.checks import parse_commands

if TYPE_CHECKING:
    from llmdbg.engine.program.launching import Launch

_EPILOG = """\
examples:
  llmdbg run generate.py --fast                            step through it on the screen
  llmdbg run --plain train.py --steps 3                    at an (llmdbg) prompt, as pdb
  llmdbg run --batch -b "0.mlp if max > 50" -ex continue train.py --steps 3
  llmdbg run --batch --json -ex "break nonfinite" -ex continue -m my.package
  llmdbg run --batch -ex "trace 12 norm" -ex continue -- pytest -x tests/test_model.py
  llmdbg run --batch --program-output out.txt generate.py      trace every layer as text

Options of llmdbg come before the program; everything after it is the program's own. Its first
call of a model is the first stop. docs/programs.md says what can be seen of it.
"""
_TAKE_A_VALUE = ("-b", "--break", "-ex", "-x", "--program-output")


def run(arguments: Sequence[str]) -> int:
    """Debug a program. Returns its exit code, or llmdbg's if it could not be debugged. Raises LlmdbgError."""
    ours, how, words = _divided(arguments)
    options = _parser().parse_args(ours)
    if not words:
        raise UsageError("there is no program to run: `llmdbg run SCRIPT.py ARGS`, `-m MODULE ARGS` or `-- COMMAND`")
    if options.plain and options.batch:
        raise UsageError("--plain asks for commands and --batch does not: leave one out")
    if options.json and not options.batch:
        raise UsageError("--json goes with --batch: add --batch")
    check_detachable(options)
    commands = parse_commands((*(f"break {address}" for address in options.breakpoints), *options.commands))
    launch = launch_of(how, words)
    if options.batch:
        from llmdbg.frontends.program.batch import debug

        return debug(launch, commands, json=options.json, program_output=options.program_output)
    if not options.plain and options.program_output is None and output.has_a_screen():
        from llmdbg.frontends.detached.wanted import stand_if_wanted
        from llmdbg.frontends.program.screen import debug as debug_on_the_screen

        link = stand_if_wanted(options.detachable)
        if isinstance(link, int):
            return link
        return debug_on_the_screen(launch, tuple(options.breakpoints), tuple(options.commands), link)
    if options.detachable:
        raise UsageError("only the screen outlives its terminal, and this has none: leave out --detachable")
    from llmdbg.frontends.program.plain import debug as debug_at_the_prompt

    return debug_at_the_prompt(launch, commands, program_output=options.program_output)


def own_options(arguments: Sequence[str]) -> Sequence[str]:
    """The arguments of `llmdbg run` that are llmdbg's own."""
    return _divided(arguments)[0]


def _divided(arguments: Sequence[str]) -> tuple[list[str], str, list[str]]:
    """The options of llmdbg, how the program is named (`script`, `-m` or `--`), and the program with its arguments."""
    at = 0
    while at < len(arguments):
        each = arguments[at]
        if each in ("-m", "--"):
            return list(arguments[:at]), each, list(arguments[at + 1 :])
        if not each.startswith("-") or each == "-":
            return list(arguments[:at]), "script", list(arguments[at:])
        at += 2 if each in _TAKE_A_VALUE else 1
    return list(arguments), "script", []


def launch_of(how: str, words: Sequence[str]) -> Launch:
    """What is to be run: `how` is `script`, `-m` or `--`. Raises UsageError."""
    from llmdbg.engine.program import launching

    if how == "--":
        return launching.command(words)
    start = launching.module if how == "-m" else launching.script
    return start(words[0], words[1:])


def _parser() -> argparse.ArgumentParser:
    options = output.Parser(
        prog="llmdbg run",
        usage="llmdbg run [options] SCRIPT.py ARGS | -m MODULE ARGS | -- COMMAND ARGS",
        description="Debug a program of your own: stops in the forward of any model that it calls.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    group = options.add_argument_group("debugging")
    add_commands(group)
    add_detachable(group)
    group.add_argument("--plain", action="store_true", help="a line-based prompt on stdin and stdout, as pdb has one")
    group.add_argument("--batch", action="store_true", help="no screen; without commands, trace to the end")
    group.add_argument("--json", action="store_true", help="with --batch: one JSON object per line")
    group.add_argument(
        "--program-output",
        metavar="FILE",
        help="where the program's own stdout goes: with --batch stderr (the default), a file, or - for stdout, which "
        "sends llmdbg's answers to stderr",
    )
    return options
