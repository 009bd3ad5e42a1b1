"""`compare`: two runs held against each other, from Python."""

from __future__ import annotations

import inspect
import os
import shlex
from argparse import Namespace
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from llmdbg.errors import GenerationError, LlmdbgError
from llmdbg.frontends.comparison_sides import (
    check_sides,
    compare_sides,
    load_side,
    options_for_both,
    parse_side,
)
from llmdbg.frontends.script import arguments
from llmdbg.frontends.script.loan import borrow, untouched_random_streams
from llmdbg.frontends.script.session import one_line
from llmdbg.models.loading import adopt
from llmdbg.traces.foreign.registry import open_trace

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from llmdbg.debugger.comparison.outcome import Comparison
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.models.spec import LoadedModel
    from llmdbg.traces.reader import Trace

    Side: TypeAlias = str | os.PathLike[str] | PreTrainedModel | tuple[PreTrainedModel, PreTrainedTokenizerBase | None]


def compare(
    reference: Side,
    candidate: Side,
    prompt: str | None = None,
    *,
    chat: bool = False,
    system: str | None = None,
    max_new_tokens: int | None = None,
    greedy: bool = False,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int = 0,
    bisect: bool = False,
) -> Comparison:
    """Compare two runs as `llmdbg diff` does. The result shows itself when it is printed, and in a notebook.

    Every argument is checked before anything is loaded. Raises LlmdbgError, in one line: a UsageError for an invalid
    argument, other errors for a model that cannot be loaded and a reference that fails. A candidate that fails is the
    verdict.

    - `reference`: the run that is taken to be right. A model as on the command line, with options of its own
      (`"smollm2 --dtype bfloat16"`); a folder, of a model or of a recording; a loaded transformers model, or a pair of
      one and its tokenizer. Without a tokenizer the prompt's UTF-8 bytes are its ids. A loaded model is in eval mode
      meanwhile, and left as it was. A large one is copied in float64 if memory allows.
    - `candidate`: the run that is compared with it; likewise.
    - `prompt`: the text that both read. None takes that of a recording.
    - `chat`: apply each tokenizer's chat template to the prompt. Default False.
    - `system`: a system message for the chat template. None for none.
    - `max_new_tokens`: the most tokens to generate, 1 or more. None for 16, or as many as were recorded.
    - `greedy`, `temperature`, `top_k`, `top_p`, `min_p`, `repetition_penalty`, `seed`: how tokens are chosen, as in
      `open_session`.
    - `bisect`: look for the smallest set of stages that repairs the candidate's answer: `Comparison.bisection`. Both
      must be models, and the candidate is run many times more. Default False.
    """
    try:
        both = options_for_both(
            prompt=arguments.optional_text("prompt", prompt),
            chat=arguments.flag("chat", chat),
            system=arguments.optional_text("system", system),
            max_new_tokens=arguments.optional_whole("max_new_tokens", max_new_tokens),
            greedy=arguments.flag("greedy", greedy),
            temperature=arguments.optional_number("temperature", temperature),
            top_k=arguments.optional_whole("top_k", top_k),
            top_p=arguments.optional_number("top_p", top_p),
            min_p=arguments.optional_number("min_p", min_p),
            repetition_penalty=arguments.optional_number("repetition_penalty", repetition_penalty),
            seed=arguments.whole("seed", seed),
        )
        sides = [_Asked("reference", reference, both), _Asked("candidate", candidate, both)]
        bisects = arguments.flag("bisect", bisect)
        check_sides(*(each.options for each in sides), bisects=bisects)
        with untouched_random_streams(), ExitStack() as undo:
            one, other = (each.recording() for each in sides)
            opened = one or sides[0].opened(other, undo), other or sides[1].opened(one, undo)
            return compare_sides(*opened, lambda _: None, {}, bisects=bisects)
    except LlmdbgError as error:
        error.args = (arguments.in_python(" ".join(str(error).split()), _PARAMETERS, _FLAGS),)
        raise
    except Exception as error:
        raise GenerationError(f"the runs could not be compared: {type(error).__name__}: {one_line(error)}") from error


class _Asked:
    """One side as the caller gave it. Raises UsageError for anything that is none."""

    def __init__(self, name: str, value: object, both: Namespace) -> None:
        self._model: PreTrainedModel | None = None
        self._tokenizer: PreTrainedTokenizerBase | None = None
        if isinstance(value, str | os.PathLike):
            text = value if isinstance(value, str) else shlex.quote(str(Path(value).expanduser().absolute()))
            self.options = parse_side(Namespace(**{**vars(both), name: text}), name)
            return
        model, tokenizer = value if isinstance(value, tuple) and len(value) == 2 else (value, None)
        checked = None if model is None else arguments.model_or_name(model, name)
        if checked is None or isinstance(checked, str):
            raise arguments.refusal(name, "a name, a path, a loaded model, or a pair of one and its tokenizer", value)
        self._model, self._tokenizer = checked, arguments.optional_tokenizer(tokenizer)
        self.options = Namespace(**vars(both), recording=None)

    def recording(self) -> Trace | None:
        """The recording, opened; None for a model."""
        return None if self.options.recording is None else open_trace(self.options.recording)

    def opened(self, other: Trace | None, undo: ExitStack) -> LiveSide:
        """The model, loaded or borrowed, after its prompt. `undo` gives it back."""
        loaded: LoadedModel | None = None
        if self._model is not None:
            loaded = adopt(self._model, self._tokenizer)
            undo.callback(borrow(self._model))
        return load_side(self.options, other, loaded)


_PARAMETERS = inspect.signature(compare).parameters
_FLAGS = frozenset(name for name, each in _PARAMETERS.items() if each.annotation == "bool")
