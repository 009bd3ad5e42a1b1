"""A model folder's generation_config.json, checked before anything is loaded.

transformers ignores a file that it cannot read, and takes what stands in one nearly as it is: a silly value fails
later, where nobody says which it was, or costs any amount of time and memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from llmdbg.errors import DamagedFileError
from llmdbg.formatting import listed
from llmdbg.models.checkpoints import read_json

_NAME = "generation_config.json"
_MOST_STOP_CHARACTERS = 10_000
_LONGEST_NGRAM = 100_000
_MOST_OF_WATERMARK = 2**24
_MARKS_WITHOUT_SIZE = ("hashing_key", "keys")
_MOST_VALUE = 60  # characters


def check_generation_config(folder: Path) -> None:
    """Raise DamagedFileError for a generation_config.json that cannot be used, naming the setting."""
    path = folder / _NAME
    if not path.is_file():
        return
    written = read_json(path)
    if not isinstance(written, dict):
        raise DamagedFileError(f"{path} is not a configuration: it should hold a JSON object")
    _check_stop_strings(path, written.get("stop_strings"))
    for name, (holds, wanted) in _KINDS.items():
        value = written.get(name)
        if value is not None and not holds(value):
            raise DamagedFileError(f"{path} cannot be used ({name} must be {wanted}, not {_shown(value)}): correct it")
    if (reason := _refusal(written)) is not None:
        found = listed([f"{name}={_shown(written[name])}" for name in _to_blame(written)] or ["a setting"], "or")
        raise DamagedFileError(f"{path} cannot be used, for {found} ({reason}): correct it, or delete it to do without")


def _refusal(written: Mapping[str, Any]) -> str | None:
    """Why transformers makes no configuration of it; None if it does."""
    from transformers import GenerationConfig

    try:
        GenerationConfig.from_dict(dict(written))
    except Exception as error:  # it validates some values and fails in various ways on others
        return " ".join(str(error).split())[:200] or type(error).__name__
    return None


def _to_blame(written: Mapping[str, Any]) -> Iterator[str]:
    """The settings that are refused by themselves, or else those without which the rest is not."""
    alone = [name for name, value in written.items() if _refusal({name: value}) is not None]
    without = ({other: value for other, value in written.items() if other != name} for name in written)
    return iter(alone or [name for name, rest in zip(written, without, strict=True) if _refusal(rest) is None])


def _check_stop_strings(path: Path, stops: Any) -> None:
    if isinstance(stops, list) and not all(isinstance(each, str) for each in stops):
        raise DamagedFileError(f"{path} cannot be used (stop_strings must be texts, not {_shown(stops)}): correct it")
    stops = [stops] if isinstance(stops, str) else stops if isinstance(stops, list) else []
    if sum(map(len, stops)) > _MOST_STOP_CHARACTERS:
        # What each could overlap with is worked out for every token of the vocabulary.
        raise DamagedFileError(f"{path} has more than {_MOST_STOP_CHARACTERS:,} characters of stop_strings")


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_VALUE else f"{text[:_MOST_VALUE]}..."


def _is_truth(value: Any) -> bool:
    return value in (0, 1)


def _is_count(value: Any) -> bool:
    return type(value) is int and 1 <= value < 2**31


def _is_ngram(value: Any) -> bool:
    # Left to `generate()`, which refuses it, unless it would take for ever: it makes as many lists.
    return not isinstance(value, (int, float)) or value <= _LONGEST_NGRAM


def _is_watermark(value: Any) -> bool:
    """Whether no size in it is huge: tables of that many numbers are made."""
    sizes = [size for name, size in value.items() if name not in _MARKS_WITHOUT_SIZE] if isinstance(value, dict) else []
    return all(not isinstance(size, (int, float)) or size <= _MOST_OF_WATERMARK for size in sizes)


_TRUTH = (_is_truth, "true or false")
_NGRAM = (_is_ngram, f"at most {_LONGEST_NGRAM:,}")
_KINDS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    **dict.fromkeys(("use_cache", "output_attentions", "output_hidden_states", "output_scores"), _TRUTH),
    **dict.fromkeys(("output_logits", "return_dict_in_generate"), _TRUTH),
    "prefill_chunk_size": (_is_count, "a whole number from 1 on"),
    "no_repeat_ngram_size": _NGRAM,
    "encoder_no_repeat_ngram_size": _NGRAM,
    "watermarking_config": (_is_watermark, f"of sizes up to {_MOST_OF_WATERMARK:,}"),
}
"""What the forward, or a table, is made with: a test of the value, and in words."""
