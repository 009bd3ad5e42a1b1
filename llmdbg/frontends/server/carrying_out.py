"""Carrying out one request that waits for its turn: what comes of it, errors among it, as a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError, RanksPartedError, UsageError
from llmdbg.formatting import shortened
from llmdbg.frontends.log import record
from llmdbg.frontends.sanitize import json_text
from llmdbg.frontends.server.journal import Journal
from llmdbg.frontends.server.messages import SchemaEvent
from llmdbg.frontends.server.requests import Command, Help, Open, Quit, Request, Schema

if TYPE_CHECKING:
    from llmdbg.frontends.server.served_run import Report, ServedRun


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
    if request.name is not None and request.name not in known:
        raise UsageError(f"there is no schema {shortened(repr(request.name))}: `schema` without a name lists them")
    found = sorted(known) if request.name is None else known[request.name]
    journal.value(SchemaEvent(name=request.name or "", found=found), [json_text(found)])
