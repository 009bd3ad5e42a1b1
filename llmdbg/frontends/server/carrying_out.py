"""Carrying out one request that waits for its turn: what comes of it, errors among it, as a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError, RanksPartedError, UsageError
from llmdbg.formatting import listed, near_matches, shortened
from llmdbg.frontends.log import record
from llmdbg.frontends.sanitize import json_text
from llmdbg.frontends.server.journal import Journal
from llmdbg.frontends.server.messages import SchemaEvent
from llmdbg.frontends.server.requests import Command, Help, Open, Quit, Request, Schema

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.frontends.server.served_run import Report, ServedRun

_MOST_NEAR = 3


def carry_out(run: ServedRun, request: Request, report: Report) -> Journal:
    """Carry out a request. Its failure is in the journal; raises RanksPartedError, after which no rank can go on."""
    journal = Journal()
    try:
        _carry_out(run, request, journal, report)
    except UsageError as error:
        journal.error(error)
    except RanksPartedError:
        raise
    except BaseException as error:  # a bug of ours, or `exit()` in a model's own code, ends the request alone
        record(error)
        journal.error(error)
    return journal


def _carry_out(run: ServedRun, request: Request, journal: Journal, report: Report) -> None:
    match request:
        case Open():
            run.open(request, journal, report)
        case Command():
            run.command(request.line, journal, report)
        case Help():
            line = f"help {request.command or ''}".strip()
            run.command(line, journal, report)
        case Schema():
            _describe(request, journal)
        case Quit():
            pass
        case _:
            raise LlmdbgError(f"{request.do} does not wait for its turn")


def _describe(request: Schema, journal: Journal) -> None:
    from llmdbg.frontends.server.schema import protocol_schema

    known = protocol_schema()["$defs"]
    if request.name and request.name not in known:
        near = _near(request.name, known)
        hint = f"the nearest {'is' if len(near) == 1 else 'are'} {listed(near)}, and " if near else ""
        raise UsageError(f"there is no schema {shortened(repr(request.name))}: {hint}`schema` without a name lists all")
    found = known[request.name] if request.name else sorted(known)
    journal.value(SchemaEvent(name=request.name or "", found=found), [json_text(found)])


def _near(name: str, known: Iterable[str]) -> list[str]:
    """Names that hold a word, or that it may be a misspelling of, whatever letters are capital."""
    names = {each.lower(): each for each in known}
    holding = sorted((each for each in names if name.lower() in each), key=len)
    return [names[each] for each in holding[:_MOST_NEAR] or near_matches(name.lower(), names, _MOST_NEAR)]
