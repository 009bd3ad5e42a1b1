"""Which of a model's own generation settings is to blame for what `generate()` refuses, or for what fails in a run.

`generate()` and its processors often fail on a silly value without naming the setting. So the settings are left out of
the model's generation config one at a time, and `generate()` prepares a run each time without running it: what makes
the trouble go away was the trouble.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from llmdbg.formatting import listed

if TYPE_CHECKING:
    from transformers import GenerationConfig, PreTrainedModel

Prepare = Callable[[Callable[..., Any]], object]
"""Calls `generate()` with a decode loop, or raises what it raises."""

_MOST_VALUE = 60  # characters
_LENGTH_OF_CACHE = "_previous_max_cache_length"  # what `generate()` leaves on the model for the next static cache


def blamed(model: PreTrainedModel, prepare: Prepare, failed: object | None = None) -> str:
    """The settings to blame with their values: `top_k=-1`, `a=1 or b=2`. Empty if none is.

    `failed` is the logits processor or stopping criterion that failed in a run; None if `generate()` failed before one.
    """
    own = model.generation_config
    names = [name for name in _given(own) if not name.startswith("_")]
    # What failed once, for want of memory, say; and what fails with any settings.
    if _is_well(model, own, prepare, failed) or not _is_well(model, _without(own, names), prepare, failed):
        return ""
    found = [name for name in names if _is_well(model, _without(own, [name]), prepare, failed)]
    if not found:  # several are wrong: name those that fail alone
        rest = {name: [other for other in names if other != name] for name in names}
        found = [name for name in names if not _is_well(model, _without(own, rest[name]), prepare, failed)]
    return listed([f"{name}={_value(getattr(own, name))}" for name in found], "or") if found else ""


def _given(config: GenerationConfig) -> list[str]:
    return [name for name, value in vars(config).items() if value is not None and name != "transformers_version"]


def _value(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MOST_VALUE else f"{text[:_MOST_VALUE]}..."


def _without(config: GenerationConfig, names: list[str]) -> GenerationConfig:
    changed = copy.copy(config)
    for name in names:
        setattr(changed, name, None)
    return changed


def _is_well(model: PreTrainedModel, config: GenerationConfig, prepare: Prepare, failed: object | None) -> bool:
    """Whether `generate()` gets as far as a decode loop with `config`, and without another of the kind that failed."""
    made: list[object] = []

    def look(_model: object, input_ids: Any, logits_processor: Any, stopping_criteria: Any, **_more: object) -> object:
        made.extend((*logits_processor, *stopping_criteria))
        return input_ids

    with _as_config_of(model, config):
        try:
            prepare(look)
        except Exception:
            return False
    return failed is None or type(failed) not in map(type, made)


@contextmanager
def _as_config_of(model: PreTrainedModel, config: GenerationConfig) -> Iterator[None]:
    before, length = model.generation_config, vars(model).get(_LENGTH_OF_CACHE)
    model.generation_config = config
    try:
        yield
    finally:
        model.generation_config = before
        vars(model).pop(_LENGTH_OF_CACHE, None)
        if length is not None:
            vars(model)[_LENGTH_OF_CACHE] = length
