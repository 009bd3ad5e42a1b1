"""Batch mode: load the model, run the commands."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from llmdbg.frontends.batch.checks import check_addresses, parse_commands
from llmdbg.frontends.batch.foreign_output import libraries_in_log
from llmdbg.frontends.batch.progress import LoadingBar
from llmdbg.frontends.batch.run import FromStdin, JsonWriter, TextWriter, run_batch
from llmdbg.frontends.export import export
from llmdbg.frontends.opening import open_generation, opening_notes
from llmdbg.frontends.other_runs import open_other

if TYPE_CHECKING:
    from llmdbg.debugger.commands import ParsedCommand
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.persistence.model import SavedSession
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.models.spec import ModelSpec


@libraries_in_log()
def launch(
    spec: ModelSpec,
    text: str,
    settings: GenerationSettings,
    commands: Sequence[str],
    *,
    chat: bool,
    system: str | None,
    json: bool,
    resumed: SavedSession | None = None,
    left_pad: int = 0,
    ranks: Ranks | None = None,
    stdin: FromStdin | None = None,
) -> int:
    """Load the model, run the commands and return the exit code. Raises LlmdbgError."""
    parsed = parse_commands(commands)
    keep: Callable[[Debugger], None] = _not_at_all
    if ranks is not None:
        from llmdbg.debugger.persistence.model import begin

        begun = resumed or begin(spec, text, settings, chat=chat, system=system, left_pad=left_pad)
        ranks.begins(begun)
        keep = partial(ranks.keep, begun=begun)
    with LoadingBar() as bar:
        debuggee = open_generation(
            spec, text, settings, chat=chat, system=system, report=bar.update, left_pad=left_pad, ranks=ranks
        )
    return run_commands(debuggee, parsed, json=json, resumed=resumed, keep=keep, stdin=stdin)


def _not_at_all(_: Debugger) -> None:
    """Keep no session, as a batch in one process does."""


def run_commands(
    debuggee: Debuggee,
    commands: Sequence[ParsedCommand],
    *,
    json: bool,
    resumed: SavedSession | None = None,
    keep: Callable[[Debugger], None] = _not_at_all,
    stdin: FromStdin | None = None,
) -> int:
    """Debug a debuggee with these commands and those of `stdin`; without any, trace it to the end.

    `keep` gets the debugger before the first of them. Returns the exit code. Raises LlmdbgError.
    """
    # Only now: they import torch, which is a step of the start.
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.persistence.restore import restore

    debugger = Debugger(debuggee)
    debugger.exporter = export
    debugger.other_runs = open_other
    try:
        notes = [*opening_notes(debuggee), *debuggee.notes]
        notes += restore(debugger, resumed) if resumed is not None else ()
        keep(debugger)
        # Only now: a resumed session may stand where other settings have brought other logits processors.
        check_addresses(commands, debugger)
        return run_batch(debugger, commands, JsonWriter() if json else TextWriter(), notes, stdin=stdin)
    finally:
        debugger.close()
