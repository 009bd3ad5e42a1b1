"""Which tool a dump is of, told by its content, and its conversion into a recording."""

from __future__ import annotations

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import TraceError, UsageError
from llmdbg.traces.foreign.hf_debugger import HuggingFaceDebugger
from llmdbg.traces.foreign.llama_cpp import LlamaCpp
from llmdbg.traces.foreign.msprobe import Msprobe
from llmdbg.traces.foreign.polygraphy import Polygraphy
from llmdbg.traces.foreign.sglang import SglangDumper, SglangPasses
from llmdbg.traces.foreign.vllm_hidden_states import VllmHiddenStates

if TYPE_CHECKING:
    from llmdbg.traces.foreign.dump import Format
    from llmdbg.traces.reader import Trace

FORMATS: tuple[Format, ...] = (
    HuggingFaceDebugger(),
    LlamaCpp(),
    Msprobe(),
    Polygraphy(),
    SglangPasses(),
    SglangDumper(),
    VllmHiddenStates(),
)
"""Every tool whose dumps are read."""
_HEADER = "trace.json"


def recognise(path: Path) -> Format | None:
    """The tool that wrote a file or folder; None for anything else. Imports nothing heavy, and never raises."""
    try:
        if not (path.is_file() or path.is_dir()) or (path / _HEADER).exists():
            return None
    except (OSError, ValueError):
        return None
    return next((each for each in FORMATS if each.recognises(path)), None)


def is_readable(path: Path) -> bool:
    """Whether a path is a recording, or a dump that can be read as one. Imports nothing heavy, and never raises."""
    try:
        return (path / _HEADER).is_file() or recognise(path) is not None
    except (OSError, ValueError):
        return False


def import_dump(path: Path, folder: Path, layers: tuple[int, ...] = ()) -> Trace:
    """Convert a dump into a recording in a new or empty folder.

    `layers` are those of vLLM's hidden states. Raises TraceError for what no tool wrote, or is damaged, and UsageError
    for a folder that is not empty.
    """
    tool = recognise(path)
    if tool is None:
        names = ", ".join(each.name for each in FORMATS)
        raise TraceError(f"{path} is no dump that can be read; those of these tools can: {names}")
    if layers:
        if not isinstance(tool, VllmHiddenStates):
            raise UsageError(f"--layers is for vLLM's hidden states, and {path} is of {tool.name}")
        tool = VllmHiddenStates(layers)
    from llmdbg.traces.foreign.converting import convert
    from llmdbg.traces.reader import Trace

    convert(tool.read(path), folder)
    return Trace.open(folder)


def open_trace(path: Path) -> Trace:
    """Open a recording; of a foreign dump, a conversion that lives as long as the result. Raises TraceError."""
    from llmdbg.traces.reader import Trace

    if recognise(path) is None:
        return Trace.open(path)
    folder = Path(tempfile.mkdtemp(prefix="llmdbg-"))
    try:
        trace = import_dump(path, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    weakref.finalize(trace, shutil.rmtree, folder, ignore_errors=True)
    return trace
