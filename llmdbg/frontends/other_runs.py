"""Opens another run to stand beside one, from what the user typed."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from llmdbg.errors import UsageError
from llmdbg.formatting import quote
from llmdbg.frontends import output
from llmdbg.frontends.arguments import add_loading, model_spec

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.references.process import Elsewhere
    from llmdbg.engine.debuggee import Debuggee


def open_other(text: str, debuggee: Debuggee) -> Debuggee | Elsewhere:
    """The run of the model that `text` names, with its loading options, after the prompt of `debuggee`.

    It chooses as that does. With `--python` it is not opened here: what is returned says what another process is to
    run. Raises LlmdbgError.
    """
    parser = output.Parser(prog="reference", add_help=False, allow_abbrev=False)
    parser.add_argument("model")
    add_loading(parser)
    parser.add_argument("--python")
    try:
        options = parser.parse_args(shlex.split(text))
    except ValueError as error:
        raise UsageError(f"{quote(text)} cannot be split into words: {error}") from error
    except UsageError as error:
        raise UsageError(str(error).partition(" (see")[0]) from error
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.frontends.opening import elsewhere, generation_of
    from llmdbg.models.loading import load

    if options.python is not None:
        return elsewhere(options.python, model_spec(options))
    loaded = load(model_spec(options), lambda _: None, lambda *_: None)
    return generation_of(loaded, debuggee.prompt, debuggee.settings or GenerationSettings())
