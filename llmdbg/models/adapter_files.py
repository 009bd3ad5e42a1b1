"""The files of an adapter (PEFT, LoRA), read without torch: which model it is for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmdbg.errors import DamagedFileError, ModelRequestError
from llmdbg.models.checkpoints import read_json

CONFIG = "adapter_config.json"


def base_of(folder: Path) -> str | None:
    """The model that an adapter is for, if there is an adapter in a folder, and no model; else None.

    Raises ModelRequestError for an adapter that names none, and DamagedFileError for damaged files.
    """
    if (folder / "config.json").is_file() or not (folder / CONFIG).is_file():
        return None
    base = configuration_of(folder).get("base_model_name_or_path")
    if not isinstance(base, str) or not base.strip():
        raise ModelRequestError(
            f"{folder} is an adapter for a model that it does not name: write the model's folder or Hub name into "
            f"base_model_name_or_path in its {CONFIG}"
        )
    return base


def configuration_of(folder: Path) -> dict[str, Any]:
    """What its configuration says. Raises DamagedFileError if that is no JSON object."""
    config = read_json(folder / CONFIG)
    if not isinstance(config, dict):
        raise DamagedFileError(f"{folder / CONFIG} is not a configuration: it should hold a JSON object")
    return config
