"""The private names of transformers and torch that the engine cannot do without, all of them.

`generate(custom_generate=...)` hands us prepared inputs but not the steps of the decode loop, which transformers keeps
as underscored methods of `GenerationMixin`; calling them, rather than copying them, is what keeps our loop bitwise
equal to theirs when they change. Torch keeps its mode stacks private, and a greenlet has to carry its own along; its
public `set_grad_enabled` is a Python class, and asking each device for autocast takes a call each, where a stop has
only microseconds.

`tests/engine/test_private_names.py` names each and fails when one is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, cast

import torch

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedModel

TRANSFORMERS_NAMES = ("_prefill", "_update_model_kwargs_for_generation", "_optimize_model_for_decode")
TORCH_NAMES = (
    "_set_grad_enabled",
    "_is_any_autocast_enabled",
    "_len_torch_dispatch_stack",
    "_pop_torch_dispatch_stack",
    "_push_on_torch_dispatch_stack",
    "_len_torch_function_stack",
    "_pop_torch_function_stack",
    "_push_on_torch_function_stack",
)


def prefill(model: PreTrainedModel, input_ids: Tensor, config: GenerationConfig, kwargs: dict[str, Any]) -> Any:
    """Run the forward over the prompt, in chunks where the generation config says so."""
    return model._prefill(input_ids, config, kwargs, is_first_iteration=True)


def updated_kwargs(model: PreTrainedModel, outputs: Any, kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the model's keyword arguments for the forward after this one."""
    updated = model._update_model_kwargs_for_generation(outputs, kwargs, is_encoder_decoder=False)
    return cast("dict[str, Any]", updated)


def decoding_kernels(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Switch mixture-of-experts models to the kernels `generate()` decodes with, on devices where it does."""
    return cast("AbstractContextManager[None]", model._optimize_model_for_decode())


set_grad_enabled: Callable[[bool], None] = torch._C._set_grad_enabled
"""Set this thread's grad mode."""

any_autocast: Callable[[], bool] = torch._C._is_any_autocast_enabled
"""Whether autocast is on for any device in this thread."""

dispatch_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack
"""How many torch dispatch modes are active in this thread."""

function_modes: Callable[[], int] = torch._C._len_torch_function_stack
"""How many torch function modes are active in this thread."""


def take_mode_stacks() -> tuple[list[Any], list[Any]]:
    """Pop every active dispatch and function mode; each list runs from the innermost outwards."""
    dispatch = [torch._C._pop_torch_dispatch_stack() for _ in range(dispatch_modes())]
    function = [torch._C._pop_torch_function_stack() for _ in range(function_modes())]
    return dispatch, function


def put_mode_stacks(stacks: tuple[list[Any], list[Any]]) -> None:
    """Push back what `take_mode_stacks` took."""
    dispatch, function = stacks
    for mode in reversed(dispatch):
        torch._C._push_on_torch_dispatch_stack(mode)
    for mode in reversed(function):
        torch._C._push_on_torch_function_stack(mode)
