"""`llmdbg serve` and `llmdbg mcp`: their command lines."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from typing import TYPE_CHECKING

from llmdbg.errors import UsageError
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_commands, add_run, generation_settings, is_chat, model_spec, prompt_text
from llmdbg.frontends.server.opening import Served
from llmdbg.frontends.server.permissions import Permissions
from llmdbg.frontends.server.requests import Open
from llmdbg.frontends.server.served_run import ServedRun

if TYPE_CHECKING:
    from llmdbg.frontends.ranks import Ranks

_COMMON = """
A client may step, look, set breakpoints, go back and change the session, and open other models,
recordings and saved sessions. It may run Python (`print`, `edit`) after --allow-python, and
write files after --allow-files. What -b, -ex and -x give is yours, and runs whenever a run begins.
"""
_SERVE = f"""\
examples:
  llmdbg serve --json                                      a client opens what it wants
  llmdbg serve --json smollm2 -p "Hi" -n 20                begin with this run
  echo '{{"do":"help"}}' | llmdbg serve --json
  llmdbg serve --schema                                    the JSON Schema of all lines
{_COMMON}"""
_MCP = f"""\
examples:
  llmdbg mcp                                               as a client's configuration has it
  llmdbg mcp smollm2 -p "Hi" -n 20                         begin with this run
{_COMMON}
It needs the package `mcp`: pip install 'llm-generation-debugger[mcp]'
"""


def serve(arguments: Sequence[str], ranks: Ranks | None = None) -> int:
    """Serve one client in JSON Lines over stdio; of several ranks, rank 0 does. Returns the exit code.

    Raises LlmdbgError.
    """
    options = _serve_parser().parse_args(arguments)
    if options.schema:
        from llmdbg.frontends.server.schema import protocol_schema

        output.write_json(protocol_schema())
        return 0
    if not options.json:
        raise UsageError("serve speaks JSON Lines: add --json, or --schema for the JSON Schema of its lines")
    served, permissions, first = _asked(options)
    make = partial(ServedRun, served, permissions, ranks)
    from llmdbg.frontends.batch.foreign_output import libraries_in_log
    from llmdbg.frontends.server.json_lines import JsonServer
    from llmdbg.frontends.server.streams import protocol_streams

    if _follows(ranks, make):
        return 0
    with libraries_in_log(), protocol_streams() as (asked, answers):
        JsonServer(make, asked, answers, ranks).serve(first)
    return 0


def mcp(arguments: Sequence[str], ranks: Ranks | None = None) -> int:
    """Serve one client of the Model Context Protocol over stdio; of several ranks, rank 0 does. Returns the exit code.

    Raises LlmdbgError.
    """
    served, permissions, first = _asked(_mcp_parser().parse_args(arguments))
    make = partial(ServedRun, served, permissions, ranks)
    from llmdbg.frontends.batch.foreign_output import libraries_in_log
    from llmdbg.frontends.server.mcp_server import serve_mcp
    from llmdbg.frontends.server.streams import protocol_streams

    if _follows(ranks, make):
        return 0
    with libraries_in_log(), protocol_streams() as (asked, answers):
        serve_mcp(make, asked, answers, first, ranks)
    return 0


def _follows(ranks: Ranks | None, make: Callable[[], ServedRun]) -> bool:
    """Where another rank has the client, do what that one is asked, to the end. Returns whether it is another."""
    if ranks is None or ranks.place.owns_terminal:
        return False
    from llmdbg.frontends.batch.foreign_output import libraries_in_log
    from llmdbg.frontends.server.following import follow

    with libraries_in_log():
        follow(make(), ranks)
    return True


def _asked(options: argparse.Namespace) -> tuple[Served, Permissions, Open | None]:
    """What may be opened, what a client may do, and what to open at once."""
    commands = (*(f"break {address}" for address in options.breakpoints), *options.commands)
    from llmdbg.frontends.batch.checks import parse_commands

    parse_commands(commands)
    served = Served(model_spec(options), commands)
    return served, Permissions(options.allow_python, options.allow_files), _first(options)


def _first(options: argparse.Namespace) -> Open | None:
    """What to open at once; None without a prompt. Raises UsageError for what a client could not ask for."""
    if options.left_pad:
        raise UsageError("--left-pad is not for a client: leave it out")
    settings = generation_settings(options)
    if options.prompt is None and options.prompt_file is None:
        return None
    chosen = {each.name: getattr(settings, each.name) for each in fields(settings)}
    return Open(
        model=options.model, prompt=prompt_text(options), chat=is_chat(options), system=options.system, **chosen
    )


def _serve_parser() -> output.Parser:
    options = _parser("serve", "The command language for programs: requests and answers in JSON Lines.", _SERVE)
    options.add_argument("--json", action="store_true", help="speak JSON Lines on stdin and stdout")
    options.add_argument("--schema", action="store_true", help="print the JSON Schema of every line, and exit")
    return options


def _mcp_parser() -> output.Parser:
    return _parser("mcp", "The command language as tools of the Model Context Protocol, on stdin and stdout.", _MCP)


def _parser(name: str, description: str, epilog: str) -> output.Parser:
    options = output.Parser(
        prog=f"llmdbg {name}",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_run(options)
    group = options.add_argument_group("serving")
    add_commands(group)
    group.add_argument("--allow-python", action="store_true", help="let a client run Python: print, edit and others")
    group.add_argument("--allow-files", action="store_true", help="let a client write files: save, record, `> FILE`")
    return options
