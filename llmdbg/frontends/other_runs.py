"""Opens another run to stand beside one, from what the user typed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from llmdbg.errors import UsageError
from llmdbg.formatting import quote
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_loading, model_spec

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee


def open_other(text: str, debuggee: Debuggee) -> Debuggee:
    """The run of the model that `text` names, with its loading options, after the prompt of `debuggee`.

    It chooses as that does. Raises LlmdbgError.
    """
    parser = output.Parser(prog="reference", add_help=False, allow_abbrev=False)
    parser.add_argument("model")
    add_loading(parser)
    try:
        options = parser.parse_args(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{quote(text)} cannot be split into words: {error}") from error
    except UsageError as error:
        raise UsageError(str(error).partition(" (see")[0]) from error
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.frontends.opening import generation_of
    from llmdbg.models.loading import load

    loaded = load(model_spec(options), lambda _: None, lambda *_: None)
    return generation_of(loaded, debuggee.prompt, debuggee.settings or GenerationSettings())
