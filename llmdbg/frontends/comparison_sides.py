"""What `llmdbg diff` is given for each side: a recording's folder, or a model with options of its own."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import SettingsError, UsageError
from llmdbg.formatting import quote
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_run, generation_settings, is_chat, model_spec, prompt_text
from llmdbg.frontends.opening import check_left_pad

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import Comparison
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.traces.reader import Trace

    Side = LiveSide | Trace

TOKENS = 16
"""How many tokens are generated if the user does not say."""
_HEADER = "trace.json"


def parse_side(text: str, shared: Sequence[str]) -> argparse.Namespace:
    """What one side asks for: its own options after those for both. Raises UsageError.

    `recording` is the folder of a recording, or None for a model.
    """
    parser = output.Parser(prog=f"llmdbg diff {quote(text)}", add_help=False, allow_abbrev=False)
    add_run(parser)
    try:
        own = shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{quote(text)} cannot be split into words: {error}") from error
    is_recording = bool(own) and Path(own[0], _HEADER).is_file()
    if is_recording and len(own) > 1:
        raise UsageError(f"{own[0]} is a recording, which takes no options: leave out {' '.join(own[1:])}")
    options = parser.parse_args([*shared, *own])
    options.recording = Path(own[0]) if is_recording else None
    return options


def open_sides(reference: argparse.Namespace, candidate: argparse.Namespace) -> tuple[Side, Side]:
    """Open the recordings and load the models. A model without a prompt takes that of the other side's recording."""
    from llmdbg.traces.reader import Trace

    recordings = [None if each.recording is None else Trace.open(each.recording) for each in (reference, candidate)]
    one, other = recordings
    return one or _load(reference, other), other or _load(candidate, one)


def compare_sides(
    reference: Side, candidate: Side, report: Callable[[str], None], given: Mapping[str, Sequence[str]]
) -> Comparison:
    """Compare two sides of whichever kinds. Raises LlmdbgError."""
    from llmdbg.debugger.comparison.comparing import compare
    from llmdbg.debugger.comparison.comparing_recorded import compare_recordings, compare_with_recording
    from llmdbg.debugger.comparison.side import LiveSide

    if isinstance(reference, LiveSide) and isinstance(candidate, LiveSide):
        return compare(reference, candidate, report, given)
    if isinstance(reference, LiveSide):
        assert not isinstance(candidate, LiveSide)
        return compare_with_recording(candidate, reference, report, given, live_is_reference=True)
    if isinstance(candidate, LiveSide):
        return compare_with_recording(reference, candidate, report, given, live_is_reference=False)
    return compare_recordings(reference, candidate)


def _load(options: argparse.Namespace, recorded: Trace | None) -> LiveSide:
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.frontends.opening import cut_prompt, generation_of
    from llmdbg.models.loading import load
    from llmdbg.models.tokens import Prompt

    check_left_pad(options.left_pad)
    takes_recorded = recorded is not None and options.prompt is None and options.prompt_file is None
    text = "" if takes_recorded else prompt_text(options)
    settings = _settings(options, recorded)
    loaded = load(model_spec(options), lambda _: None, lambda *_: None)
    if takes_recorded:
        assert recorded is not None
        record = recorded.header.prompt
        prompt = Prompt(record.ids, record.rendered or "", padding=record.left_pad)
    else:
        prompt = cut_prompt(loaded, text, chat=is_chat(options), system=options.system, left_pad=options.left_pad)
    return LiveSide(loaded, prompt, settings, generation_of)


def _settings(options: argparse.Namespace, recorded: Trace | None) -> GenerationSettings:
    """The settings that were given; without any, those of the other side's recording."""
    from llmdbg.engine.settings import GenerationSettings

    names = [each.name for each in fields(GenerationSettings)]
    default = GenerationSettings()
    given = any(getattr(options, name) != getattr(default, name) for name in names)
    if recorded is None or given:
        options.max_new_tokens = options.max_new_tokens or TOKENS
        return generation_settings(options)
    known = {name: value for name, value in recorded.header.settings.items() if name in names}
    try:
        return GenerationSettings(**{"max_new_tokens": len(recorded.tokens) or TOKENS, **_present(known)})
    except (SettingsError, TypeError) as error:
        raise UsageError(f"{recorded.folder} has settings that cannot be: {error}") from error


def _present(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
