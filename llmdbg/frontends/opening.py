"""How every front end starts: from a model and a prompt to a debuggee."""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.limits import MOST_LEFT_PAD
from llmdbg.errors import UsageError
from llmdbg.formatting import printable
from llmdbg.frontends.log import route_transformers

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

    from llmdbg.debugger.comparison.references.process import Elsewhere
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.frontends.prompts.cutting import Cutting
    from llmdbg.frontends.prompts.early import PromptCallback
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.models.spec import LoadedModel, LoadProgress, ModelSpec
    from llmdbg.models.tokens import Prompt
    from llmdbg.traces.reader import Trace


def check_left_pad(left_pad: int) -> None:
    """Raise UsageError for more or fewer pad tokens before a prompt than there can be."""
    if not 0 <= left_pad <= MOST_LEFT_PAD:
        raise UsageError(f"--left-pad takes a number from 0 to {MOST_LEFT_PAD}, not {left_pad}")


def open_generation(
    spec: ModelSpec,
    text: str,
    settings: GenerationSettings,
    *,
    chat: bool,
    system: str | None,
    report: Callable[[LoadProgress], None],
    left_pad: int = 0,
    on_prompt: PromptCallback | None = None,
    ranks: Ranks | None = None,
) -> Debuggee:
    """Load a model, tokenize the prompt, and prepare the generation; nothing runs yet. `report` gets loading progress.

    `on_prompt` gets the prompt's first tokens, and how many there are, before the weights are read; often also before
    torch is imported, from a thread of its own (`prompts/early.py`).
    `ranks` are those of a torchrun, if this is one of several.
    For a process of llmdbg's own, whose logging is routed. Raises LlmdbgError. torch and transformers are imported only
    when this is called.
    """
    check_engine_request(spec, left_pad)
    from llmdbg.frontends.prompts.early import EarlyPrompt
    from llmdbg.models.libraries import garbage_left_alone, start_libraries
    from llmdbg.models.load_steps import LoadStep
    from llmdbg.models.read_ahead import read_ahead
    from llmdbg.models.spec import LoadProgress

    prompt: Prompt | None = None
    expected: int | None = None
    how: Cutting = {"chat": chat, "system": system, "left_pad": left_pad}

    def cut(tokenizer: PreTrainedTokenizerBase | None, config: PretrainedConfig) -> None:
        from llmdbg.frontends.prompts.cutting import cut_before_weights, prompt_rows, vocabulary_size

        nonlocal prompt, expected
        expected = vocabulary_size(config)
        prompt = cut_before_weights(tokenizer, config, text, how)
        early.close()
        if prompt is not None and on_prompt is not None:
            on_prompt(prompt_rows(prompt, tokenizer), len(prompt.ids))

    report(LoadProgress(LoadStep.LIBRARIES, 0, None))
    with EarlyPrompt(spec, text, how, on_prompt) as early:
        read_ahead(spec)
        with garbage_left_alone():
            start_libraries(report, before_models=route_transformers)
        if spec.engine == "vllm":
            return _open_request(spec, settings, report, cut, lambda: prompt)
        from llmdbg.models.loading import load

        if ranks is not None:
            ranks.find_each_other(spec)
        loaded = load(spec, report, cut, None if ranks is None else ranks.place)
    report(LoadProgress(LoadStep.RUN, 0, None))
    if loaded.tokenizer is None and expected != _vocabulary_size(loaded):
        prompt = None
    prompt = prompt or cut_prompt(loaded, text, chat=chat, system=system, left_pad=left_pad)
    debuggee = generation_of(loaded, prompt, settings) if ranks is None else ranks.debuggee(loaded, prompt, settings)
    # All that is here now stays to the end. Looking through it for garbage took 0.2 s, in the middle of some step.
    gc.freeze()
    return debuggee


def check_engine_request(spec: ModelSpec, left_pad: int) -> None:
    """Raise LlmdbgError for what the engine that is asked for cannot do, before anything is loaded."""
    if spec.engine != "vllm":
        return
    from llmdbg.engine.vllm.checks import check_request

    check_request(spec)
    if left_pad:
        raise UsageError("vLLM pads no prompt, in a batch neither: leave out --left-pad")


def _open_request(
    spec: ModelSpec,
    settings: GenerationSettings,
    report: Callable[[LoadProgress], None],
    cut: Callable[[PreTrainedTokenizerBase | None, PretrainedConfig], None],
    prompt: Callable[[], Prompt | None],
) -> Debuggee:
    """Start a vLLM engine, and prepare a request for it. `prompt` gives the prompt that `cut` has cut."""
    from llmdbg.engine.vllm.loading import start
    from llmdbg.engine.vllm.request import VllmRequest
    from llmdbg.models.load_steps import LoadStep
    from llmdbg.models.spec import LoadProgress

    engine = start(spec, report, cut)
    report(LoadProgress(LoadStep.RUN, 0, None))
    ready = prompt()
    # Without a tokenizer, vLLM is not started.
    assert ready is not None
    return VllmRequest(engine, ready, settings)


def load_for_runs(
    spec: ModelSpec, report: Callable[[LoadProgress], None]
) -> tuple[LoadedModel, Callable[[LoadedModel, Prompt, GenerationSettings], Debuggee]]:
    """Load a model with the engine that is asked for. Raises LlmdbgError.

    Returns it, and what prepares a run of it after a prompt; nothing runs yet.
    """
    if spec.engine == "vllm":
        from llmdbg.engine.vllm.loading import start
        from llmdbg.engine.vllm.request import VllmRequest

        engine = start(spec, report, lambda *_: None)
        return engine.loaded, lambda _loaded, prompt, settings: VllmRequest(engine, prompt, settings)
    from llmdbg.models.loading import load

    return load(spec, report, lambda *_: None), generation_of


def prepare_generation(
    loaded: LoadedModel,
    text: str,
    settings: GenerationSettings,
    *,
    chat: bool,
    system: str | None,
    left_pad: int = 0,
    prompt: Prompt | None = None,
) -> Debuggee:
    """Cut the prompt into its tokens and prepare their generation; nothing runs yet. Raises LlmdbgError.

    `prompt` is the text's, if it has been cut already.
    """
    if prompt is None:
        prompt = cut_prompt(loaded, text, chat=chat, system=system, left_pad=left_pad)
    return generation_of(loaded, prompt, settings)


def cut_prompt(loaded: LoadedModel, text: str, *, chat: bool, system: str | None, left_pad: int = 0) -> Prompt:
    """The text as the ids that a model is fed. Raises PromptError."""
    from llmdbg.models.configurations import context_length
    from llmdbg.models.tokens import encode_prompt

    return encode_prompt(
        loaded.tokenizer,
        text,
        chat=chat,
        system=system,
        vocabulary_size=_vocabulary_size(loaded),
        context_length=context_length(loaded.model.config),
        left_pad=left_pad,
    )


def generation_of(loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings) -> Debuggee:
    """Prepare the generation after a prompt; nothing runs yet. Raises PromptError."""
    from llmdbg.engine.generation.generation import Generation

    return Generation(loaded, prompt, settings)


def elsewhere(python: str, model: ModelSpec) -> Elsewhere:
    """A model to be run by the Python that the user means. Raises UsageError if there is none.

    The demo model is the one that is installed here. Raises LoadError if it cannot be converted.
    """
    from llmdbg.debugger.comparison.references.process import Elsewhere
    from llmdbg.models.sources import find_source
    from llmdbg.models.spec import DEMO_MODEL

    if model.name in (None, DEMO_MODEL):
        model = replace(model, name=str(find_source(model, lambda _: None).folder))
    return Elsewhere(found_python(python), Path(__file__).with_name("other_process.py"), model)


def found_python(text: str) -> str:
    """The interpreter that the user means: a path, a name on the PATH, or the folder of a virtual environment.

    Raises UsageError.
    """
    path = Path(text).expanduser()
    if path.is_dir():
        path = path / "bin" / "python"
    # A link to another interpreter is not followed: it is the environment that counts.
    found = shutil.which(str(path)) if text else None
    if found is None:
        raise UsageError(f"--python takes the path of an interpreter or of its environment, not {printable(text)}")
    return str(Path(found).absolute())


def open_recording(trace: Trace) -> Debuggee:
    """A recording as a debuggee. It needs no model, and transformers is not imported."""
    from llmdbg.traces.replay.recorded_ranks import RecordedRanks
    from llmdbg.traces.replay.recorded_run import RecordedRun

    return RecordedRanks(trace) if trace.header.ranks else RecordedRun(trace)


def _vocabulary_size(loaded: LoadedModel) -> int:
    return int(loaded.model.get_input_embeddings().weight.shape[0])


def opening_notes(debuggee: Debuggee) -> tuple[str, ...]:
    """What the user should know about the model and the prompt before anything runs, a sentence each."""
    return (*(debuggee.loaded.notes if debuggee.loaded is not None else ()), *debuggee.prompt.notes)
