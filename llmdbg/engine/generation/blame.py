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
_WHEN_IT_WAS_MADE = "initial_timestamp"  # of the criterion for max_time
_LENGTH_OF_CACHE = "_previous_max_cache_length"  # what `generate()` leaves on the model for the next static cache


def blamed(model: PreTrainedModel, prepare: Prepare, failed: object | None = None) -> str:
    """The settings to blame with their values: `top_k=-1`, `a=1 or b=2`. Empty if none is.

    `failed` is the logits processor or stopping criterion that failed in a run; None if `generate()` failed before one.
    """
    own = model.generation_config
    names = [name for name in _given(own) if not name.startswith("_")]
    bad = _kinds(_made(model, own, prepare), type(failed))

    def is_well(config: GenerationConfig) -> bool:
        made = _made(model, config, prepare)
        return made is not None and (failed is None or not bad & _kinds(made, type(failed)))

    # What failed once, for want of memory, say; and what fails with any settings.
    if is_well(own) or not is_well(_without(own, names)):
        return ""
    found = [name for name in names if is_well(_without(own, [name]))]
    if not found:  # several are wrong: name those that fail alone
        rest = {name: [other for other in names if other != name] for name in names}
        found = [name for name in names if not is_well(_without(own, rest[name]))]
    return listed([f"{name}={_value(getattr(own, name))}" for name in found], "or") if found else ""


def _kinds(made: list[object] | None, kind: type) -> set[str]:
    """Those of one class, by how they were made: one setting may change another's processor and not remove it."""
    alike = [vars(each) for each in made or () if type(each) is kind]
    return {repr({name: value for name, value in each.items() if name != _WHEN_IT_WAS_MADE}) for each in alike}


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


def _made(model: PreTrainedModel, config: GenerationConfig, prepare: Prepare) -> list[object] | None:
    """The processors and criteria with which `generate()` gets to a decode loop with `config`; None if it does not."""
    made: list[object] = []

    def look(_model: object, input_ids: Any, logits_processor: Any, stopping_criteria: Any, **_more: object) -> object:
        made.extend((*logits_processor, *stopping_criteria))
        return input_ids

    with _as_config_of(model, config):
        try:
            prepare(look)
        except Exception:
            return None
    return made


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
