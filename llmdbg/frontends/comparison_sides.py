"""What `llmdbg diff` is given for each side: a recording's folder, or a model with options of its own."""

from __future__ import annotations

import argparse
import copy
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import SettingsError, UsageError
from llmdbg.formatting import listed, quote
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_run, generation_settings, is_chat, model_spec, prompt_text
from llmdbg.frontends.opening import check_left_pad, found_python
from llmdbg.frontends.session_sides import (
    add_session,
    read_session,
    session_side,
    session_spec,
    take_session,
    tokens_of,
)
from llmdbg.models.engines import require_transformers
from llmdbg.traces.foreign.registry import is_readable

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import Comparison
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.tokens import Prompt
    from llmdbg.traces.reader import Trace

    Side = LiveSide | Trace

TOKENS = 16
"""How many tokens are generated if the user does not say."""
_FOR_BOTH = ("--bisect", "--fail-on", "--map", "--json", "--html", "--quiet", "-q", "--screen")


@dataclass(frozen=True, slots=True)
class KnownRun:
    """What a recording or a session says of a run, for the other side to read and choose likewise."""

    prompt: Prompt
    """The prompt; no ids where a dump of another tool does not say what was fed."""
    settings: Mapping[str, Any]
    """How it chose tokens, by the names of `GenerationSettings`; untrusted."""
    tokens: int
    """How many it generated."""
    where: str
    """What says so, for messages."""


def options_for_both(**given: Any) -> argparse.Namespace:
    """The options for both sides as a command line without any has them, but for those `given` by name."""
    return argparse.Namespace(**{**vars(_parser().parse_args([])), **given})


def parse_side(options: argparse.Namespace, which: str) -> argparse.Namespace:
    """What the side `which` asks for: its own options over those for both. Raises UsageError.

    `recording` is the folder of a recording, or None for a model.
    """
    text = getattr(options, which)
    words = _words(text, which.upper())
    if misplaced := [each for each in words if each.partition("=")[0] in _FOR_BOTH]:
        raise UsageError(
            f"{misplaced[0]} is about the comparison, not about one side: write it outside of {quote(text)}"
        )
    is_recording = is_readable(Path(words[0]))
    if is_recording and len(words) > 1:
        raise UsageError(f"{words[0]} is a recording, which takes no options: leave out {' '.join(words[1:])}")
    both = copy.copy(options)
    both.model = None
    try:
        own = _parser().parse_args(words)
        # A side's own prompt replaces the one for both, in whichever way either is given.
        if own.prompt is not None or own.prompt_file is not None:
            both.prompt = both.prompt_file = None
        found = _parser().parse_args(words, both)
    except UsageError as error:
        raise UsageError(f"in {quote(text)}: {error}") from error
    found.recording = Path(words[0]) if is_recording else None
    if is_recording and (found.session is not None or found.branch is not None):
        found.session = found.branch = None
    found.saved = None if is_recording else read_session(found, _usual())
    return found


def _usual() -> argparse.Namespace:
    """The options of a command line without any."""
    return _parser().parse_args([])


def check_sides(*sides: argparse.Namespace, bisects: bool = False, has_prompt: bool = False) -> None:
    """Refuse what can be refused before anything is imported or loaded. Raises UsageError.

    `has_prompt` says whether a side that is not among these has a prompt for them. A side without a prompt and settings
    takes those of the saved session that another side names.
    """
    if (saved := next((each.saved for each in sides if each.saved is not None), None)) is not None:
        tokens = max(map(tokens_of, sides)) or TOKENS
        for each in sides:
            if each.recording is None:
                take_session(each, each.saved or saved, _usual())
                each.max_new_tokens = each.max_new_tokens or tokens
    recorded = any(each.recording is not None for each in sides)
    has_prompt = has_prompt or recorded
    if bisects and recorded:
        raise UsageError("--bisect runs both sides, and a recording cannot be run: leave out --bisect")
    if bisects and any(each.python is not None for each in sides):
        raise UsageError("--bisect runs both sides in this process: leave out --bisect, or --python")
    if len(sides) > 1 and all(each.recording is not None for each in sides):
        _check_nothing_is_asked(sides)
    for each in sides:
        if each.recording is not None:
            continue
        if each.python is None:
            require_transformers(model_spec(each))
        check_left_pad(each.left_pad)
        generation_settings(each)
        if each.python is not None:
            if each.saved is not None:
                raise UsageError("a branch of a saved session runs in this process: leave out --python")
            found_python(each.python)
        # What another process runs is told its own command line alone.
        takes_other = has_prompt and each.prompt is None and each.prompt_file is None and each.python is None
        if not takes_other:
            prompt_text(each)


def _check_nothing_is_asked(recordings: Sequence[argparse.Namespace]) -> None:
    """Refuse options for a run where none takes place. Raises UsageError."""
    given = {word: None for each in recordings for word in _words_of(each)[1:] if word.startswith("--")}
    if given:
        names = listed([word.partition("=")[0] for word in given])
        raise UsageError(f"both sides are recordings, which are read and not run: leave out {names}")


def command_words(side: argparse.Namespace) -> list[str]:
    """The command line that runs one side here, with the options that are not the defaults; empty if none does."""
    is_elsewhere = side.recording is not None or side.saved is not None or side.python is not None
    return [] if is_elsewhere else _words_of(side)


def _words_of(side: argparse.Namespace) -> list[str]:
    words = [] if side.model is None else [side.model]
    for name, usual in vars(_parser().parse_args([])).items():
        value = getattr(side, name)
        if name in ("model", "python") or value == usual:
            continue
        option, text = f"--{name.replace('_', '-')}", str(value)
        # argparse takes what begins with a dash for another option.
        words += [option] if value is True else [f"{option}={text}"] if text.startswith("-") else [option, text]
    return words


def parse_words(words: Sequence[str]) -> argparse.Namespace:
    """One side alone, from the words of its command line. Raises UsageError."""
    found = _parser().parse_args([*words])
    found.recording = found.saved = None
    return found


def _parser() -> argparse.ArgumentParser:
    parser = output.Parser(prog="llmdbg diff", add_help=False, allow_abbrev=False)
    add_run(parser)
    add_session(parser)
    parser.add_argument("--python")
    return parser


def _words(text: str, which: str) -> list[str]:
    """A side as the words of a command line. A path that exists is one word, whatever is in it. Raises UsageError."""
    if not text.strip():
        raise UsageError(f"{which} is empty: give a model, such as smollm2 or a folder")
    # A name may be too long for a path.
    with suppress(OSError, ValueError):
        if Path(text).exists():
            return [text]
    try:
        return shlex.split(text)
    except ValueError as error:
        raise UsageError(f"{quote(text)} cannot be split into words: {error}") from error


def open_sides(
    reference: argparse.Namespace, candidate: argparse.Namespace, report: Callable[[str], None]
) -> tuple[Side, Side]:
    """Open the recordings and load the models. A model without a prompt takes that of the other side's recording."""
    from llmdbg.traces.foreign.registry import open_trace

    recordings = [None if each.recording is None else open_trace(each.recording) for each in (reference, candidate)]
    sides: list[Side] = []
    for which, options, own, others in zip(
        ("reference", "candidate"), (reference, candidate), recordings, reversed(recordings), strict=True
    ):
        if options.python is not None:
            report(f"recording the {which} in another process")
            sides.append(recorded_elsewhere(options))
            continue
        report(f"{'loading' if own is None else 'reading'} the {which}")
        sides.append(own or load_side(options, None if others is None else recorded_run(others)))
    return sides[0], sides[1]


def recorded_run(trace: Trace) -> KnownRun:
    """What a recording says of its run."""
    from llmdbg.models.tokens import Prompt

    record = trace.header.prompt
    prompt = Prompt(record.ids, record.rendered or "", padding=record.left_pad)
    return KnownRun(prompt, trace.header.settings, len(trace.tokens), str(trace.folder))


def recorded_elsewhere(options: argparse.Namespace) -> Trace:
    """A recording, with every tensor, of a side that another Python runs. It lives as long as the result."""
    from llmdbg.debugger.comparison.references.recording import record_elsewhere
    from llmdbg.frontends.opening import elsewhere

    ours, asked = copy.copy(options), elsewhere(options.python, model_spec(options))
    ours.model = asked.model.name
    ours.max_new_tokens = ours.max_new_tokens or TOKENS
    return record_elsewhere(asked, _words_of(ours))


def compare_sides(
    reference: Side,
    candidate: Side,
    report: Callable[[str], None],
    given: Mapping[str, Sequence[str]],
    *,
    bisects: bool = False,
) -> Comparison:
    """Compare two sides of whichever kinds; `bisects` is for two models alone. Raises LlmdbgError."""
    from llmdbg.debugger.comparison.comparing import compare
    from llmdbg.debugger.comparison.comparing_recorded import compare_recordings, compare_with_recording
    from llmdbg.debugger.comparison.side import LiveSide

    if isinstance(reference, LiveSide) and isinstance(candidate, LiveSide):
        return compare(reference, candidate, report, given, bisects=bisects)
    if isinstance(reference, LiveSide):
        assert not isinstance(candidate, LiveSide)
        return compare_with_recording(candidate, reference, report, given, live_is_reference=True)
    if isinstance(candidate, LiveSide):
        return compare_with_recording(reference, candidate, report, given, live_is_reference=False)
    return compare_recordings(reference, candidate)


def load_side(options: argparse.Namespace, known: KnownRun | None, loaded: LoadedModel | None = None) -> LiveSide:
    """Load a model, unless one is given, and cut its prompt into tokens. Raises LlmdbgError.

    `known` is the run of the other side: its prompt and settings are taken where the options have none.
    """
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.frontends.opening import cut_prompt, generation_of
    from llmdbg.models.loading import load

    asked = options.prompt is not None or options.prompt_file is not None
    taken = known.prompt if known is not None and known.prompt.ids and not asked else None
    text = "" if taken is not None else prompt_text(options)
    settings = _settings(options, known)
    loaded = loaded or load(session_spec(options, _usual()), lambda _: None, lambda *_: None)
    prompt = taken or cut_prompt(loaded, text, chat=is_chat(options), system=options.system, left_pad=options.left_pad)
    side = LiveSide(loaded, prompt, settings, generation_of)
    return side if options.saved is None else session_side(options, side)


def _settings(options: argparse.Namespace, known: KnownRun | None) -> GenerationSettings:
    """The settings that were given; without any, those of the other side's run."""
    from llmdbg.engine.settings import GenerationSettings

    names = [each.name for each in fields(GenerationSettings)]
    default = GenerationSettings()
    given = any(getattr(options, name) != getattr(default, name) for name in names)
    if known is None or given:
        options.max_new_tokens = options.max_new_tokens or TOKENS
        return generation_settings(options)
    present = {name: value for name, value in known.settings.items() if name in names and value is not None}
    try:
        return GenerationSettings(**{"max_new_tokens": known.tokens or TOKENS, **present})
    except (SettingsError, TypeError) as error:
        raise UsageError(f"{known.where} has settings that cannot be: {error}") from error
