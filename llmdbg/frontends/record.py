"""`llmdbg record MODEL … -o RUN`: a whole run, recorded into a folder."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.formatting import byte_count, counted, quote
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_run, generation_settings, is_chat, model_spec, prompt_text
from llmdbg.frontends.batch.foreign_output import libraries_in_log
from llmdbg.frontends.batch.progress import LoadingBar
from llmdbg.frontends.opening import check_left_pad, open_generation, opening_notes

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.traces.recording import RunRecording

_EPILOG = """\
examples:
  llmdbg record smollm2 --chat -p "What is a token?" -n 32 -o run
  llmdbg record FOLDER -p Hi --greedy -o run --tensors 12.mlp --tensors logits
  llmdbg diff run "FOLDER --dtype bfloat16"                compare a model with it

RUN is a new or empty folder of JSON and safetensors, which docs/trace-format.md describes. It can be read up to the
last token whatever ends the run.
"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """What has been recorded."""

    folder: str
    """Where it is."""
    tokens: int
    """How many tokens it has."""
    stages: int
    """How many outputs of stages it has."""
    bytes: int
    """Its size on the disk."""
    stopped_by: str | None
    """Why generation ended; None if it was interrupted."""
    ids: tuple[int, ...]
    """The generated ids."""
    text: str
    """Their text."""


def record(arguments: Sequence[str]) -> int:
    """Record a run. Returns 0; raises LlmdbgError, and KeyboardInterrupt once what there is has been written."""
    options = _parser().parse_args(arguments)
    check_left_pad(options.left_pad)
    _record(options, Path(options.output))
    return 0


def _parser() -> argparse.ArgumentParser:
    options = output.Parser(
        prog="llmdbg record",
        description="Record a run: of every stage statistics, a hash and a sketch, and how each token was chosen.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_run(options)
    group = options.add_argument_group("recording")
    group.add_argument("-o", "--output", metavar="RUN", required=True, help="the folder to write, new or empty")
    group.add_argument(
        "--tensors",
        action="append",
        default=[],
        metavar="WHICH",
        help="keep whole tensors too: last (each stage's last position), all, inputs (all, and what each stage is "
        "given), or an address, which may be repeated (default none)",
    )
    group.add_argument("--json", action="store_true", help="print what was recorded as one JSON object")
    return options


@libraries_in_log()
def _record(options: argparse.Namespace, folder: Path) -> None:
    spec, settings, text = model_spec(options), generation_settings(options), prompt_text(options)
    _refuse_what_is_there(folder)
    chat = is_chat(options)
    with LoadingBar() as bar:
        debuggee = open_generation(
            spec, text, settings, chat=chat, system=options.system, report=bar.update, left_pad=options.left_pad
        )
    # Only now: they import torch, which is a step of the start.
    from llmdbg.debugger.execution.stage_list import StageList
    from llmdbg.traces.keeping import parse_keep
    from llmdbg.traces.recording import RunRecording

    for each in opening_notes(debuggee):
        output.note(each)
    events = debuggee.events()
    recording: RunRecording | None = None
    ended: str | None = None
    try:
        first = next(events)
        keep = parse_keep(options.tensors, lambda address: StageList(debuggee).addresses.resolve(address).addresses)
        recording = RunRecording(debuggee, folder, keep, typed=text, chat=chat, system=options.system)
        debuggee.stops.arm(recording.addresses, recording.handler)
        recording.passed(first)
        for event in events:
            ended = event.ended_by
        for each in debuggee.notes:
            output.note(each)
    except (LlmdbgError, KeyboardInterrupt):
        if recording is not None:
            output.note(f"what was recorded until then is in {folder}: {counted(recording.writer.tokens, 'token')}")
        raise
    finally:
        events.close()
        if recording is not None:
            recording.close()
    _tell(_recorded(debuggee, recording, folder, ended), as_json=options.json)


def _refuse_what_is_there(folder: Path) -> None:
    """Raise UsageError before anything is loaded."""
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise UsageError(f"{folder} is there already, and no empty folder: name a new one with -o")


def _recorded(debuggee: Debuggee, recording: RunRecording, folder: Path, ended: str | None) -> Recorded:
    ids = debuggee.generated
    return Recorded(
        folder=str(folder),
        tokens=recording.writer.tokens,
        stages=recording.writer.rows,
        bytes=sum(entry.stat().st_size for entry in os.scandir(folder)),
        stopped_by=ended,
        ids=ids,
        text=debuggee.vocabulary.decode(ids),
    )


def _tell(found: Recorded, *, as_json: bool) -> None:
    if as_json:
        from llmdbg.frontends.answers.json_values import json_value

        output.write_json({"event": "record"} | json_value(found))
        return
    tokens = counted(found.tokens, "token")
    output.write_lines(
        [
            f"{found.folder}: {tokens}, {found.stages:,} outputs of stages, {byte_count(found.bytes)}",
            f"ended by {found.stopped_by}: {quote(found.text)}",
        ]
    )
