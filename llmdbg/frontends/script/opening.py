"""`open_session`: checks every argument, then loads a model or borrows a loaded one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import fields, replace
from os import PathLike
from typing import TYPE_CHECKING
from weakref import finalize

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import LlmdbgError, LoadError, UsageError
from llmdbg.formatting import listed
from llmdbg.frontends.batch.checks import parse_commands
from llmdbg.frontends.export import export
from llmdbg.frontends.opening import check_engine_request, check_left_pad, cut_prompt, generation_of, load_for_runs
from llmdbg.frontends.other_runs import open_other
from llmdbg.frontends.script import arguments
from llmdbg.frontends.script.loan import borrow, untouched_random_streams
from llmdbg.frontends.script.session import Session, one_line, run_commands
from llmdbg.models.loading import adopt
from llmdbg.models.spec import (
    ATTENTION,
    DTYPES,
    ENGINES,
    QUANTIZATION,
    Attention,
    Dtype,
    EngineName,
    ModelSpec,
    Quantization,
)
from llmdbg.models.tokens import check_text, check_utf8

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from llmdbg.debugger.commands import ParsedCommand
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.tokens import Prompt

    RunOf = Callable[[LoadedModel, Prompt, GenerationSettings], Debuggee]
    Source = Callable[[], tuple[LoadedModel, RunOf, Callable[[], None]]]


def open_session(
    model: str | PathLike[str] | PreTrainedModel | None,
    prompt: str,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    chat: bool = False,
    system: str | None = None,
    left_pad: int = 0,
    max_new_tokens: int | None = None,
    greedy: bool = False,
    temperature: float | None = None,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    repetition_penalty: float | None = None,
    seed: int = 0,
    dtype: Dtype = "auto",
    device: str = "auto",
    attn: Attention | None = None,
    quantize: Quantization | None = None,
    random_weights: bool = False,
    trust_remote_code: bool = False,
    allow_pickle: bool = False,
    allow_missing: bool = False,
    engine: EngineName = "hf",
    breakpoints: Iterable[str] = (),
    commands: Iterable[str] = (),
) -> Session:
    """Load a model, or borrow a loaded one, and stop at the first stage of a generation.

    Every argument is checked before anything is loaded. Raises LlmdbgError, in one line: a UsageError for an invalid
    argument, other errors for a model that cannot be loaded or run.

    What to run:

    - `model`: a Hub name, a folder, a `.gguf` file or `smollm2`, as on the command line; a path is always a folder or a
      file. None is the demo model, if it is installed. Or a loaded transformers model: the session puts it in eval mode
      and, when closed, restores it (train or eval mode of every module, hooks, gradients and their flags, generation
      config).
    - `prompt`: the text the model reads. Not empty.
    - `tokenizer`: the tokenizer of a loaded model; None uses the prompt's UTF-8 bytes as ids. Must be None for a model
      given by name, which has its own.
    - `chat`: apply the tokenizer's chat template to the prompt. Default False.
    - `system`: a system message for the chat template; needs `chat=True`. None for none.
    - `left_pad`: how many masked pad tokens to put before the prompt, as in a batch with a longer one. From 0 (the
      default) to 100000.

    How to choose tokens, as for `generate()`; None leaves it to the model's generation config:

    - `max_new_tokens`: the most tokens to generate, 1 or more.
    - `greedy`: always take the likeliest token. Excludes the next four. Default False.
    - `temperature`: sample, with the logits divided by this number greater than 0.
    - `top_k`: sample from this many of the likeliest tokens; 0 for all.
    - `top_p`: sample from the likeliest tokens that together have this probability, from 0 to 1.
    - `min_p`: sample from the tokens at least this fraction as likely as the likeliest, from 0 to 1.
    - `repetition_penalty`: penalise tokens that have occurred: divide their positive logits by this number greater than
      0 and multiply their negative ones by it. 1 changes nothing.
    - `seed`: seeds the random stream, from 0 (the default) to 4294967295. The caller's own streams are restored.

    How to load the model; not for a loaded one:

    - `dtype`: "auto" (the default) is the dtype of the stored weights; "float32", "bfloat16" or "float16".
    - `device`: "auto" (the default) is the first GPU, or the CPU without one; "cpu", "cuda" or "cuda:N".
    - `attn`: the attention implementation, "sdpa", "eager" or "flash_attention_2"; None leaves it to transformers.
    - `quantize`: quantise the weights while loading, to "4bit" or "8bit"; None loads them as they are.
    - `random_weights`: use random weights, so that only the configuration is needed. Default False.
    - `trust_remote_code`: run Python code that comes with the model. Default False.
    - `allow_pickle`: load pickled weights, which can run code. Default False.
    - `allow_missing`: load weights that are incomplete or do not fit, to look at them: what is missing is whatever
      transformers initialises it to, and `Session.weights` names it. Default False, which raises a WeightsError.
    - `engine`: what runs the model: "hf" (transformers, the default) or "vllm".

    What to do first:

    - `breakpoints`: each as the `break` command takes it: `["12 if norm > 100"]`. Default none.
    - `commands`: command lines to run next, as with `-ex`; their answers are dropped. Default none.
    """
    with _messages_for_python():
        spec = ModelSpec(
            dtype=arguments.choice("dtype", dtype, DTYPES),
            device=arguments.text("device", device),
            attn=arguments.optional_choice("attn", attn, ATTENTION),
            quantize=arguments.optional_choice("quantize", quantize, QUANTIZATION),
            random_weights=arguments.flag("random_weights", random_weights),
            trust_remote_code=arguments.flag("trust_remote_code", trust_remote_code),
            allow_pickle=arguments.flag("allow_pickle", allow_pickle),
            allow_missing=arguments.flag("allow_missing", allow_missing),
            engine=arguments.choice("engine", engine, ENGINES),
        )
        settings = GenerationSettings(
            max_new_tokens=arguments.optional_whole("max_new_tokens", max_new_tokens),
            greedy=arguments.flag("greedy", greedy),
            temperature=arguments.optional_number("temperature", temperature),
            top_k=arguments.optional_whole("top_k", top_k),
            top_p=arguments.optional_number("top_p", top_p),
            min_p=arguments.optional_number("min_p", min_p),
            repetition_penalty=arguments.optional_number("repetition_penalty", repetition_penalty),
            seed=arguments.whole("seed", seed),
        )
        prompt, system, left_pad = _checked_prompt(prompt, chat=chat, system=system, left_pad=left_pad)
        at_once = _parsed(breakpoints, commands)
        source = _source(model, tokenizer, spec, left_pad)
        with untouched_random_streams(), ExitStack() as undo:
            loaded, run_of, give_back = source()
            undo.callback(give_back)
            debuggee = run_of(loaded, cut_prompt(loaded, prompt, chat=chat, system=system, left_pad=left_pad), settings)
            debugger = Debugger(debuggee)
            debugger.exporter = export
            debugger.other_runs = open_other
            undo.callback(debugger.close)
            try:
                run_commands(debugger, at_once)
            except LlmdbgError as error:
                at_once.locate(error)
                raise
            # The session closes it from here on.
            undo.pop_all()
        return Session(debugger, give_back=_once(debugger, give_back))


def _source(model: object, tokenizer: object, spec: ModelSpec, left_pad: int) -> Source:
    """How to get the model. Raises LlmdbgError for arguments that exclude each other."""
    asked, words = arguments.model_or_name(model), arguments.optional_tokenizer(tokenizer)
    if asked is None or isinstance(asked, str):
        if words is not None:
            raise UsageError("tokenizer goes with a loaded model, and a model given by name has its own: leave it out")
        named = replace(spec, name=asked)
        check_engine_request(named, left_pad)
        return lambda: (*load_for_runs(named, lambda _: None), _nothing)
    given = [each.name for each in fields(spec) if getattr(spec, each.name) != each.default]
    if given:
        raise UsageError(f"a loaded model takes no {listed(given, 'or')}, which is for loading: leave it out")
    return lambda: (adopt(asked, words), generation_of, borrow(asked))


def _checked_prompt(prompt: object, *, chat: object, system: object, left_pad: object) -> tuple[str, str | None, int]:
    """The prompt, the system message and the padding. Raises PromptError or UsageError."""
    text, message = arguments.text("prompt", prompt), arguments.optional_text("system", system)
    check_text(text)
    is_chat = arguments.flag("chat", chat)
    if message is not None:
        if not is_chat:
            raise UsageError("system is a message for the chat template, so it needs chat=True")
        check_utf8(message, called="system")
    padding = arguments.whole("left_pad", left_pad)
    check_left_pad(padding)
    return text, message, padding


class _AtOnce:
    """The commands to run first, each with the argument that it comes from."""

    def __init__(self) -> None:
        self.named: list[tuple[str, ParsedCommand]] = []
        self._latest = ""

    def __iter__(self) -> Iterator[ParsedCommand]:
        for name, each in self.named:
            self._latest = name
            yield each

    def locate(self, error: LlmdbgError) -> None:
        """Say of an error where the command that was asked for last comes from: `commands[1]: `."""
        error.args = (f"{self._latest}: {error}",)


def _parsed(breakpoints: object, commands: object) -> _AtOnce:
    """The commands to run first. Raises LlmdbgError for the first that cannot be parsed."""
    places, lines = arguments.texts("breakpoints", breakpoints), arguments.texts("commands", commands)
    asked = [(f"breakpoints[{index}]", f"break {place}") for index, place in enumerate(places)]
    asked += [(f"commands[{index}]", line) for index, line in enumerate(lines)]
    parsed = _AtOnce()
    for name, line in asked:
        try:
            parsed.named += [(name, each) for each in parse_commands([line])]
        except LlmdbgError as error:
            error.args = (f"{name}: {error}",)
            raise
    return parsed


def _once(debugger: Debugger, give_back: Callable[[], None]) -> Callable[[], object]:
    """`give_back`, called once at most: by the session, or when a debugger that was never closed is collected."""
    once = finalize(debugger, give_back)
    once.atexit = False
    return once


def _nothing() -> None:
    """Nothing to give back: the session loaded the model itself."""


@contextmanager
def _messages_for_python() -> Iterator[None]:
    """Raise only LlmdbgErrors, whose messages name parameters instead of command-line options."""
    try:
        yield
    except LlmdbgError as error:
        error.args = (arguments.in_python(" ".join(str(error).split()), _PARAMETERS, _FLAGS),)
        raise
    except Exception as error:
        raise LoadError(f"the session could not be opened: {type(error).__name__}: {one_line(error)}") from error


_PARAMETERS = inspect.signature(open_session).parameters
_FLAGS = frozenset(name for name, each in _PARAMETERS.items() if each.annotation == "bool")
