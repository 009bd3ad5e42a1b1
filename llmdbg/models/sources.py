"""From the name the user typed to the model's files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from llmdbg.display import short
from llmdbg.errors import ModelRequestError
from llmdbg.models import demo, hub
from llmdbg.models.checkpoints import check_folder
from llmdbg.models.gguf_files import GgufFile, inspect_gguf
from llmdbg.models.spec import DEMO_MODEL, ModelSpec, ProgressCallback


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model's files are."""

    name: str
    """How the model is called in headers and messages."""
    folder: Path
    """The folder that transformers loads from."""
    gguf: GgufFile | None = None
    """The model's only file, in `folder`; None for a folder of safetensors."""
    on_hub: bool = False
    """Whether it is a snapshot of the Hub, whose weights may still be there alone."""


def find_source(spec: ModelSpec, progress: ProgressCallback) -> ModelSource:
    """Find the model, downloading or converting it if necessary; the weights of a model of the Hub come later.

    Raises ModelRequestError, HubUnreachableError, DamagedFileError or LoadError.
    """
    name = spec.name
    if name is None:
        if demo.demo_file() is None:
            raise ModelRequestError(f"no model was named: name one, or install the demo model (`{demo.INSTALL}`)")
        name = DEMO_MODEL
    if not name.strip():
        raise ModelRequestError("the model's name is empty: MODEL is a Hub name, a folder or a .gguf file")
    if (there := _on_this_machine(name)) is not None:
        return there
    if name == DEMO_MODEL:
        return ModelSource(demo.NAME, demo.demo_folder(progress))
    if _is_path(name) or not hub.looks_like_a_hub_name(name):
        raise ModelRequestError(f"there is no folder or file {name}: MODEL is a Hub name, a folder or a .gguf file")
    folder = hub.download_small_files(name, progress, remote_code=spec.trust_remote_code)
    return ModelSource(name, folder, on_hub=True)


def download_weights(source: ModelSource, spec: ModelSpec, progress: ProgressCallback) -> None:
    """Download the weights that are still on the Hub alone. Raises what `find_source` raises."""
    if source.on_hub:
        hub.download_weights(source.name, source.folder, progress, allow_pickle=spec.allow_pickle)
        check_folder(source.folder)


def source_at_hand(name: str | None) -> ModelSource | None:
    """Where a model's small files are if nothing has to be downloaded or converted for them; else None.

    Whether the Hub has newer ones is not asked. Raises ModelRequestError or DamagedFileError as `find_source` does.
    """
    name = DEMO_MODEL if name is None else name
    there = _on_this_machine(name)
    if there is not None or name == DEMO_MODEL or _is_path(name) or not hub.looks_like_a_hub_name(name):
        return there
    folder = hub.cached(name)
    return None if folder is None else ModelSource(name, folder, on_hub=True)


def _on_this_machine(name: str) -> ModelSource | None:
    path = _looked_for(name)
    if path.is_dir():
        return ModelSource(path.resolve().name, path.resolve())
    if name == DEMO_MODEL:
        folder = demo.converted_folder()
        return None if folder is None else ModelSource(demo.NAME, folder)
    return _file(path) if path.is_file() else None


def _looked_for(name: str) -> Path:
    """The path that a name may be. Raises ModelRequestError where the system does not say whether it is there."""
    try:
        path = Path(name).expanduser()
        path.exists()
    except (OSError, RuntimeError) as error:  # too long, in a folder that is closed to us; of an unknown user
        why = error.strerror if isinstance(error, OSError) else error
        raise ModelRequestError(f"cannot look for the model {short(name)}: {why}") from error
    return path


def _file(path: Path) -> ModelSource:
    if path.suffix.lower() != ".gguf":
        raise ModelRequestError(f"{path} is not a .gguf file: MODEL is a Hub name, a folder or a .gguf file")
    path = path.resolve()
    return ModelSource(path.stem, path.parent, inspect_gguf(path))


def _is_path(name: str) -> bool:
    return (
        name.startswith((".", "~", os.sep)) or name.endswith((os.sep, ".gguf")) or name.count("/") > 1 or "\\" in name
    )
