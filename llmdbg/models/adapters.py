"""Adapters (PEFT, LoRA) that lie in a model's folder: applied where PEFT is installed, and never left out unsaid.

transformers applies an adapter by itself if PEFT is installed, and runs the base model without a word if it is not.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import DamagedFileError, ModelRequestError
from llmdbg.models.checkpoints import read_json
from llmdbg.models.loading_errors import clear_errors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CONFIG, _WEIGHTS, _PICKLED = "adapter_config.json", "adapter_model.safetensors", "adapter_model.bin"

WITHOUT_ADAPTER: dict[str, Any] = {"adapter_kwargs": {"subfolder": ".no-adapter"}}
"""Makes `from_pretrained` look for an adapter where there is none: with one, it reports the adapter's tensors only."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter beside a model's weights."""

    folder: Path
    """The folder of both."""
    kind: str
    """What PEFT calls its type: `LORA`."""
    rank: int | None
    """The rank of its matrices; None for a type that has none."""


def find_adapter(folder: Path, *, allow_pickle: bool, whole: bool = True) -> Adapter | None:
    """The adapter in a model's folder, ready to be applied; None if there is none.

    Unless the folder is `whole`, its weights may still be missing.

    Raises ModelRequestError for an adapter without its model, without PEFT, or with pickled weights that are not
    allowed, and DamagedFileError if its files are damaged or missing.
    """
    path = folder / _CONFIG
    if not path.is_file():
        return None
    config = read_json(path)
    if not isinstance(config, dict):
        raise DamagedFileError(f"{path} is not a configuration: it should hold a JSON object")
    if not (folder / "config.json").is_file():
        base = str(config.get("base_model_name_or_path") or "a model that it does not name")
        raise ModelRequestError(
            f"{folder} is an adapter for {base}, not a model: merge it into that model with PEFT (merge_and_unload), "
            "save the result, and name its folder"
        )
    if importlib.util.find_spec("peft") is None:
        raise ModelRequestError(
            f"{folder} has an adapter ({_CONFIG}) that only PEFT can apply, and without it the base model would run: "
            f"run `pip install peft`, or move {_CONFIG} away to run the base model"
        )
    if whole and not (folder / _WEIGHTS).is_file():
        if not (folder / _PICKLED).is_file():
            raise DamagedFileError(f"{folder} has {path.name} but no {_WEIGHTS}: download the adapter's weights")
        if not allow_pickle:
            raise ModelRequestError(
                f"the adapter in {folder} is pickled ({_PICKLED}), and unpickling can run code: use a safetensors "
                "copy, or add --allow-pickle if you trust its source"
            )
    rank = config.get("r")
    return Adapter(folder, str(config.get("peft_type") or "unknown"), rank if isinstance(rank, int) else None)


def apply_adapter(adapter: Adapter, name: str, model: PreTrainedModel) -> tuple[Any, str]:
    """Apply an adapter to its loaded model. Returns transformers' loading info, and a note for the user.

    Raises what `clear_errors` makes of PEFT's errors.
    """
    with clear_errors(f"{name}'s adapter", None):
        info = model.load_adapter(str(adapter.folder), ignore_mismatched_sizes=True)
    rank = "" if adapter.rank is None else f", rank {adapter.rank}"
    return info, f"the adapter in the model's folder ({adapter.kind}{rank}) is applied by PEFT"
