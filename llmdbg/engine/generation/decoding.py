"""Compares the decoding method of a model's generation config with the one that llmdbg runs.

llmdbg decodes one sequence, one token per forward, greedy or sampled. A config may ask `generate()` for something else.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from llmdbg.engine.generation._compat import default_new_tokens
from llmdbg.errors import SettingsError
from llmdbg.formatting import listed

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

    from llmdbg.engine.settings import GenerationSettings

_ONE_SEQUENCE = {"num_beams": 1, "num_return_sequences": 1, "token_healing": False}

_SPECULATIVE = {
    "prompt_lookup_num_tokens": "prompt lookup",
    "use_mtp": "multi-token prediction",
    "assistant_early_exit": "early exit",
}


def one_sequence(config: GenerationConfig) -> dict[str, Any]:
    """The arguments that make `generate()` decode one sequence if the model's own config asks for several."""
    return {name: value for name, value in _ONE_SEQUENCE.items() if (getattr(config, name, None) or value) != value}


def default_length(model: PreTrainedModel, prompt_length: int, settings: GenerationSettings) -> dict[str, Any]:
    """The argument that says what `generate()` takes for the length where nobody says it, in tokens with the prompt.

    Left to itself, it takes the same and warns, into the caller's terminal, that it was not told.
    """
    own = model.generation_config
    if (settings.max_new_tokens, own.max_new_tokens, own.max_length) != (None, None, None):
        return {}
    length = prompt_length + default_new_tokens(own)
    context = getattr(model.config, "max_position_embeddings", None)
    return {"max_length": length if context is None else min(length, context)}


def stop_strings(config: GenerationConfig, tokenizer: PreTrainedTokenizerBase | None) -> dict[str, Any]:
    """The arguments that make `generate()` end at the stop strings of a model's own config.

    With a custom decode loop, `generate()` does not get the tokenizer it needs for them, so the criteria are passed
    ready-made. Raises SettingsError if there is no tokenizer.
    """
    if not config.stop_strings:
        return {}
    if tokenizer is None:
        raise SettingsError(
            "the model's generation config has stop_strings, which need a tokenizer, and there is none: add the "
            "tokenizer's files, or take stop_strings out of generation_config.json"
        )
    from transformers import StoppingCriteriaList, StopStringCriteria

    criteria = StoppingCriteriaList([StopStringCriteria(tokenizer, config.stop_strings)])
    return {"stopping_criteria": criteria, "stop_strings": None}


def instead_of(own: GenerationConfig) -> str:
    """The method that a model's own config asks `generate()` for and that one sequence replaces; empty if none."""
    if (own.num_beams or 1) > 1:
        return f"{own.num_beams} beams"
    if (own.num_return_sequences or 1) > 1:
        return f"{own.num_return_sequences} answers"
    return " and ".join(method for name, method in _SPECULATIVE.items() if getattr(own, name, None) is not None)


def decoding_notes(settled: GenerationConfig, own: GenerationConfig) -> tuple[str, ...]:
    """Say in sentences where `generate()` by itself would decode differently.

    `settled` is the config that `generate()` resolved for one sequence, `own` the model's own. Raises SettingsError for
    a method that `generate()` refuses too.
    """
    from transformers.generation import GenerationMode

    asked = copy.copy(settled)
    asked.num_beams, asked.num_return_sequences = own.num_beams or 1, own.num_return_sequences or 1
    mode = asked.get_generation_mode()
    removed = {
        GenerationMode.CONTRASTIVE_SEARCH: ("contrastive search", "penalty_alpha"),
        GenerationMode.DOLA_GENERATION: ("DoLa decoding", "dola_layers"),
        GenerationMode.GROUP_BEAM_SEARCH: ("group beam search", "num_beam_groups"),
        GenerationMode.CONSTRAINED_BEAM_SEARCH: ("constrained beam search", "constraints or force_words_ids"),
    }
    if mode in removed:
        method, setting = removed[mode]
        raise SettingsError(
            f"the model's generation config asks for {method} ({setting}), which generate() itself no longer runs "
            "without code from the Hub: take it out of generation_config.json"
        )
    here = "sampling" if settled.do_sample else "greedy search"
    notes = []
    if mode in (GenerationMode.BEAM_SEARCH, GenerationMode.BEAM_SAMPLE):
        notes.append(
            f"the model's generation config asks for {asked.num_beams} beams (num_beams), but llmdbg decodes one "
            f"sequence: this is plain {here}, and generate() may produce other text"
        )
    elif asked.num_return_sequences > 1:
        if not asked.do_sample:
            raise SettingsError(
                f"the model's generation config asks for {asked.num_return_sequences} answers (num_return_sequences), "
                "which generate() refuses without sampling: add --temperature, or correct generation_config.json"
            )
        notes.append(
            f"the model's generation config asks for {asked.num_return_sequences} answers (num_return_sequences), but "
            "llmdbg decodes one: generate() samples all at once, so it may produce other text"
        )
    elif mode is GenerationMode.ASSISTED_GENERATION:
        # As generate() sees it: 0 is a number of tokens too.
        names = [name for name in _SPECULATIVE if getattr(asked, name, None) is not None]
        methods = listed([f"{_SPECULATIVE[name]} ({name})" for name in names])
        notes.append(
            f"the model's generation config asks for {methods}, which guesses several tokens ahead: this is plain "
            f"{here}, one token at a time, so logits differ from generate()'s by rounding"
        )
    if own.token_healing:
        notes.append(
            "the model's generation config asks for token_healing, which rewrites the end of the prompt: it is ignored"
        )
    return tuple(notes)
