"""`llmdbg import DUMP -o RUN`: a dump of another tool, converted into a recording."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from llmdbg.errors import UsageError
from llmdbg.formatting import byte_count, counted, quote
from llmdbg.frontends import output

_EPILOG = """\
DUMP is a file or folder of one of these, which are told by their content; docs/foreign-dumps.md says how each is made:
  Hugging Face's model debugger   the folder, or CLASS_debug_tree_FULL_TENSORS.json
  llama.cpp's eval callback       the text that llama-eval-callback prints
  msprobe                         the folder of dump_path, of a step or of a rank, or dump.json
  Polygraphy                      the JSON file, or folder, of --save-outputs
  SGLang                          the folder of --debug-tensor-dump-output-folder, or of its dumper
  vLLM's hidden states            the safetensors file of a request

examples:
  llmdbg import dump_folder -o run
  llmdbg diff dump_folder FOLDER        compare a model with a dump, without importing it first
"""


@dataclass(frozen=True, slots=True)
class Imported:
    """What has been imported."""

    folder: str
    """Where the recording is."""
    tool: str
    """Which tool wrote the dump."""
    forwards: int
    """How many forwards it has."""
    stages: int
    """How many outputs of stages it has."""
    bytes: int
    """Its size on the disk."""
    notes: tuple[str, ...]
    """What the dump lacks."""


def import_dump(arguments: Sequence[str]) -> int:
    """Convert a dump. Returns 0; raises LlmdbgError."""
    options = _parser().parse_args(arguments)
    from llmdbg.traces.foreign import registry

    folder = Path(options.output)
    trace = registry.import_dump(Path(options.dump), folder, _layers(options.layers))
    found = Imported(
        folder=str(folder),
        tool=trace.header.written_by.partition(", imported by")[0],
        forwards=len(trace.tokens),
        stages=sum(each.rows for each in trace.tokens),
        bytes=sum(entry.stat().st_size for entry in os.scandir(folder)),
        notes=trace.header.notes,
    )
    _tell(found, as_json=options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    options = output.Parser(
        prog="llmdbg import",
        description="Convert a dump of another tool into a recording.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    options.add_argument("dump", metavar="DUMP", help="the file or folder that the tool wrote")
    options.add_argument("-o", "--output", metavar="RUN", required=True, help="the folder to write, new or empty")
    options.add_argument(
        "--layers", metavar="N,N,…", help="the layers of vLLM's hidden states (eagle_aux_hidden_state_layer_ids)"
    )
    options.add_argument("--json", action="store_true", help="print what was imported as one JSON object")
    return options


def _layers(text: str | None) -> tuple[int, ...]:
    if text is None:
        return ()
    try:
        found = tuple(map(int, text.split(",")))
    except ValueError:
        found = (-1,)
    if not all(0 <= each < 100_000 for each in found):
        raise UsageError(f"--layers takes numbers with commas between, such as 2,14,26, not {quote(text)}")
    return found


def _tell(found: Imported, *, as_json: bool) -> None:
    if as_json:
        from llmdbg.frontends.answers.json_values import json_value

        output.write_json({"event": "import"} | json_value(found))
        return
    forwards = counted(found.forwards, "forward")
    output.write_lines(
        [f"{found.folder}: {forwards}, {found.stages:,} outputs of stages, {byte_count(found.bytes)}, of {found.tool}"]
    )
    for each in found.notes:
        output.note(each)
