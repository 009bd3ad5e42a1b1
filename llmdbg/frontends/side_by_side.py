"""`llmdbg diff --screen`: the candidate on the screen, suspended wherever the reference beside it is."""

from __future__ import annotations

import argparse
import shlex
from typing import TYPE_CHECKING

from llmdbg.errors import UsageError
from llmdbg.frontends import output
from llmdbg.frontends.arguments import generation_settings, is_chat, model_spec, prompt_text

if TYPE_CHECKING:
    from llmdbg.models.spec import ModelSpec

_SWITCHES = ("random_weights", "trust_remote_code", "allow_pickle", "allow_missing")


def show(reference: argparse.Namespace, candidate: argparse.Namespace) -> int:
    """Open the screen on the candidate, with the reference beside it and a breakpoint where the two part.

    Raises UsageError without a terminal, and for a recording.
    """
    if not output.has_a_screen():
        raise UsageError("the screen needs a terminal: leave out --screen")
    if candidate.recording is not None:
        raise UsageError("--screen steps through the candidate, and a recording cannot be run: leave out --screen")
    if candidate.python is not None:
        raise UsageError("--screen steps through the candidate in this process: --python is for the reference")
    if any(each.saved is not None for each in (reference, candidate)):
        raise UsageError("--screen shows no branches: `llmdbg --resume ID` opens the session, and `diff` compares them")
    theirs, ours = reference, candidate
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.frontends.tui.start import run

    return run(
        LaunchRequest(
            model_spec(ours),
            prompt_text(ours),
            generation_settings(ours),
            is_chat(ours),
            ours.system,
            (),
            ("break diverged", f"reference {_words_of_reference(theirs)}"),
            None,
            ours.left_pad,
            "",
        )
    )


def _words_of_reference(reference: argparse.Namespace) -> str:
    if reference.recording is not None:
        return shlex.quote(str(reference.recording))
    words = words_of(model_spec(reference))
    return words if reference.python is None else f"{words} {shlex.join(['--python', reference.python])}"


def words_of(spec: ModelSpec) -> str:
    """A model and its loading options as they are typed."""
    words = [spec.name or "smollm2"]
    words += ["--dtype", spec.dtype] if spec.dtype != "auto" else []
    words += ["--device", spec.device] if spec.device != "auto" else []
    words += ["--attn", spec.attn] if spec.attn else []
    words += ["--quantize", spec.quantize] if spec.quantize else []
    words += [f"--{name.replace('_', '-')}" for name in _SWITCHES if getattr(spec, name)]
    return shlex.join(words)
