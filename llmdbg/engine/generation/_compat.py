"""All private names of transformers that a generation needs.

`generate(custom_generate=...)` passes us prepared inputs but not the steps of the decode loop, which transformers keeps
as underscored methods of `GenerationMixin`. Calling rather than copying them keeps our loop bitwise equal to theirs
when they change.

`tests/engine/generation/test_compat.py` fails when one of them is gone.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedModel

TRANSFORMERS_NAMES = ("_prefill", "_update_model_kwargs_for_generation", "_optimize_model_for_decode")
CONFIG_NAMES = ("_get_default_generation_params",)


def default_new_tokens(config: GenerationConfig) -> int:
    """How many tokens `generate()` generates where nothing says how many."""
    return int(config._get_default_generation_params()["max_length"])


def prefill(model: PreTrainedModel, input_ids: Tensor, config: GenerationConfig, kwargs: dict[str, Any]) -> Any:
    """Run the forward over the prompt, in chunks if the generation config says so."""
    return model._prefill(input_ids, config, kwargs, is_first_iteration=True)


def updated_kwargs(model: PreTrainedModel, outputs: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the model's keyword arguments for the next forward."""
    updated = model._update_model_kwargs_for_generation(outputs, kwargs, is_encoder_decoder=False)
    return cast("dict[str, Any]", updated)


def decoding_kernels(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Switch mixture-of-experts models to the kernels that `generate()` uses for decoding on this device, if any."""
    return cast("AbstractContextManager[None]", model._optimize_model_for_decode())
