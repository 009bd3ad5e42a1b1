"""How the next token is chosen, as plain values: the settings of `generate()`, and the processors that run."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from llmdbg.engine.debuggee import SamplingFacts
from llmdbg.formatting import counted

if TYPE_CHECKING:
    from transformers import GenerationConfig

    from llmdbg.models.stages import Stage

_PROCESSOR_SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def sampling_facts(config: GenerationConfig, processors: Iterable[Stage], prompt_length: int) -> SamplingFacts:
    """The sampling of the generation config that `generate()` resolved, for a prompt of `prompt_length` tokens.

    `processors` are the stages of the logits processors that it prepared.
    """
    processors = tuple(processors)
    values = {name: getattr(config, name, None) for name in _PROCESSOR_SETTINGS}
    longest = getattr(config, "max_length", None)
    addresses = [each.address for each in processors]
    late = [_without_number(each) in ("temperature", *_AFTER_TEMPERATURE) for each in addresses]
    first = late.index(True) if any(late) else len(late)
    return SamplingFacts(
        description=describe_sampling(config, processors),
        samples=bool(getattr(config, "do_sample", False)),
        limit=None if longest is None else max(1, longest - prompt_length),
        values={name: float(value) for name, value in values.items() if isinstance(value, (int, float))},
        before_temperature=tuple(addresses[:first]),
        from_temperature=tuple(addresses[first:]),
    )


def describe_sampling(config: GenerationConfig, processors: Iterable[Stage]) -> str:
    """Name what chooses the next token, and every processor that runs: `temperature 0.8 · top-k 40`, `greedy`.

    What the config asks for and `generate()` does not run is left out; a processor that nobody knows is named by its
    stage.
    """
    steps = [_without_number(each.address) for each in processors]
    parts = [_described(name, config) for name in steps]
    if not config.do_sample:
        return " · ".join(["greedy", *parts])
    if "temperature" not in steps:
        # At 1 it changes nothing, so there is no processor; that tokens are drawn must be said all the same.
        first = next((index for index, name in enumerate(steps) if name in _AFTER_TEMPERATURE), len(steps))
        parts.insert(first, "temperature 1")
    return " · ".join(parts)


def _without_number(address: str) -> str:
    """The name of a processor's stage, without the number that tells a second one of its class from the first."""
    return re.sub(r"_\d+$", "", address.removeprefix("sample."))


def _described(name: str, config: GenerationConfig) -> str:
    words = name.replace("_", " ")
    try:
        return PROCESSOR_WORDS[name](config) if name in PROCESSOR_WORDS else words
    except (AttributeError, TypeError, ValueError, LookupError):
        # Somebody else's processor may be called the same, and be set by nothing in the config.
        return words


def _number(words: str, setting: str) -> Callable[[Any], str]:
    return lambda config: f"{words} {getattr(config, setting):g}"


def _ids(words: str, setting: str, singular: str = "token") -> Callable[[Any], str]:
    return lambda config: f"{words} {counted(len(getattr(config, setting)), singular)}"


PROCESSOR_WORDS: dict[str, Callable[[Any], str]] = {
    "unbatched_classifier_free_guidance": _number("guidance", "guidance_scale"),
    "sequence_bias": _ids("bias on", "sequence_bias", "sequence"),
    "repetition_penalty": _number("repetition penalty", "repetition_penalty"),
    "no_repeat_n_gram": lambda config: f"no repeated {config.no_repeat_ngram_size:d}-gram",
    "no_bad_words": _ids("bans", "bad_words_ids", "sequence"),
    "min_length": _number("min length", "min_length"),
    "min_new_tokens_length": _number("min new tokens", "min_new_tokens"),
    "forced_bos_token": lambda config: f"first token {config.forced_bos_token_id} forced",
    "forced_eos_token": lambda config: f"last token {config.forced_eos_token_id} forced",
    "inf_nan_remove": lambda _config: "NaN and infinity removed",
    "exponential_decay_length_penalty": lambda config: "length penalty {1:g} from token {0:d}".format(
        *config.exponential_decay_length_penalty
    ),
    "suppress_tokens": _ids("suppresses", "suppress_tokens"),
    "suppress_tokens_at_begin": lambda config: (
        f"suppresses {counted(len(config.begin_suppress_tokens), 'token')} at first"
    ),
    "temperature": _number("temperature", "temperature"),
    "top_h": _number("top-h", "top_h"),
    "top_k": _number("top-k", "top_k"),
    "top_p": _number("top-p", "top_p"),
    "min_p": _number("min-p", "min_p"),
    "typical": _number("typical-p", "typical_p"),
    "epsilon": _number("epsilon cutoff", "epsilon_cutoff"),
    "eta": _number("eta cutoff", "eta_cutoff"),
    "watermark": lambda _config: "watermark",
    "synth_id_text_watermark": lambda _config: "SynthID watermark",
    "logit_normalization": lambda _config: "renormalized",
}
"""The words for each processor of transformers, by the name of its stage."""

_AFTER_TEMPERATURE = frozenset(
    {
        *("top_h", "top_k", "top_p", "min_p", "typical", "epsilon", "eta"),
        *("watermark", "synth_id_text_watermark", "logit_normalization"),
    }
)
"""What `generate()` runs after the temperature."""
