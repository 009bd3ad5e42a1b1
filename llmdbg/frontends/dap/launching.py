"""From what `launch` asks for to a debuggee: a model with a prompt, or a program of the user's."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msgspec import structs

from llmdbg.errors import SettingsError, UsageError
from llmdbg.formatting import did_you_mean, nearest_or_all, shortened
from llmdbg.frontends.arguments import read_text
from llmdbg.frontends.dap.arguments import LaunchRequest
from llmdbg.models.spec import ATTENTION, DTYPES, ENGINES, QUANTIZATION, ModelSpec
from llmdbg.models.tokens import MOST_TEXT_BYTES, check_text

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.models.spec import LoadProgress

_ONE_OF = {"engine": ENGINES, "dtype": DTYPES, "attn": ATTENTION, "quantize": QUANTIZATION}
_OF_EDITORS = (
    *("type", "request", "name", "presentation", "preLaunchTask", "postDebugTask", "internalConsoleOptions"),
    *("debugServer", "serverReadyAction", "suppressMultipleSessionWarning", "console", "windows", "linux", "osx"),
)
"""Names in a `launch.json` that are the editor's own, and that it may pass on."""
_OF_VS_CODE = "__"
"""What names begin with that VS Code adds: `__sessionId`."""
_GIVEN_BY_HAND = {"trustRemoteCode": "--trust-remote-code", "allowPickle": "--allow-pickle"}


def check_names(arguments: dict[str, Any]) -> None:
    """Raise UsageError for what no launch.json may say: a folder that somebody sends along must not allow code."""
    for name, option in _GIVEN_BY_HAND.items():
        if arguments.get(name):
            raise UsageError(f"{name} is not taken from a file: start the adapter with `llmdbg dap {option}`")


def not_known(arguments: dict[str, Any]) -> list[str]:
    """A line for each name that `launch` does not take, and that no editor adds by itself: it is ignored."""
    known = [each.encode_name for each in structs.fields(LaunchRequest)]
    passed = {*known, *_GIVEN_BY_HAND, *_OF_EDITORS}
    odd = [name for name in arguments if name not in passed and not name.startswith(_OF_VS_CODE)]
    return [
        f"note: launch does not know {shortened(repr(name))}, and ignores it{did_you_mean(name, known)}" for name in odd
    ]


def is_program(request: LaunchRequest) -> bool:
    """Whether a program is to be debugged, and not a model of ours. Raises UsageError if it cannot be told."""
    programs = [each for each in (request.program, request.module) if each is not None]
    if len(programs) > 1 or (programs and (request.model is not None or request.prompt is not None)):
        raise UsageError("launch takes one of model (with prompt), program and module")
    return bool(programs)


def enter_surroundings(request: LaunchRequest) -> None:
    """Go to `cwd`, and set `env`. Raises UsageError."""
    if request.cwd:
        try:
            os.chdir(request.cwd)
        except OSError as error:
            raise UsageError(f"cwd {request.cwd} cannot be entered: {error.strerror or error}") from error
    for name, value in request.env.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def open_model(
    request: LaunchRequest, report: Callable[[LoadProgress], None], *, trust_remote_code: bool, allow_pickle: bool
) -> Debuggee:
    """Load the model and cut the prompt; nothing runs yet. Raises LlmdbgError."""
    for name, allowed in _ONE_OF.items():
        value = getattr(request, name)
        if value is not None and value not in allowed:
            raise UsageError(f"{name} is one of {', '.join(allowed)}, not {value!r}")
    prompt, settings = _prompt(request), _settings(request.settings)
    spec = ModelSpec(
        name=request.model,
        dtype=request.dtype,
        device=request.device,
        attn=request.attn,
        quantize=request.quantize,
        random_weights=request.random_weights,
        trust_remote_code=trust_remote_code,
        allow_pickle=allow_pickle,
        allow_missing=request.allow_missing,
        engine=request.engine,
    )
    from llmdbg.frontends.opening import check_left_pad, open_generation

    check_left_pad(request.left_pad)
    return open_generation(
        spec,
        prompt,
        settings,
        chat=request.chat or request.system is not None,
        system=request.system,
        report=report,
        left_pad=request.left_pad,
    )


def program_words(request: LaunchRequest) -> tuple[str, list[str]]:
    """How the program is named, as `launch_of` takes it, and its words."""
    if request.module is not None:
        return "-m", [request.module, *request.args]
    return "script", [str(request.program), *request.args]


def _prompt(request: LaunchRequest) -> str:
    if (request.prompt is None) == (request.prompt_file is None):
        raise UsageError("launch needs a prompt: one of prompt and promptFile")
    if request.prompt_file is None:
        text = str(request.prompt)
    else:
        text = read_text(Path(request.prompt_file), "prompt file", MOST_TEXT_BYTES)
    check_text(text, called="the prompt", remedy="give some text as prompt or promptFile")
    return text


def _settings(given: dict[str, Any]) -> GenerationSettings:
    from llmdbg.engine.settings import GenerationSettings

    known = {each.name: str(each.type) for each in fields(GenerationSettings)}
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"settings has no {name!r}: {nearest_or_all(name, tuple(known))}")
        kind = (bool,) if known[name] == "bool" else (int,) if "int" in known[name] else (int, float)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool) != (kind == (bool,))):
            raise SettingsError(f"settings: {name} is {known[name].split(' |')[0]}, not {value!r}")
    return GenerationSettings(**given)
