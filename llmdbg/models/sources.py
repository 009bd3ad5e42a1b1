"""From the name the user typed to the model's files."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

from llmdbg.display import short
from llmdbg.errors import HubUnreachableError, ModelRequestError
from llmdbg.models import demo, hub
from llmdbg.models.adapter_files import base_of
from llmdbg.models.checkpoints import check_folder, has_tokenizer
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
    hub_name: str = ""
    """Its name on the Hub; empty if it is not from there."""
    adapter: ModelSource | None = None
    """An adapter that lies elsewhere and is to be applied to the model; None if none was named."""

    @property
    def tokenizer_folder(self) -> Path:
        """The folder of its tokenizer: the adapter's if that has one, since training may have added tokens."""
        own = self.adapter is not None and has_tokenizer(self.adapter.folder)
        return self.adapter.folder if own and self.adapter is not None else self.folder


def find_source(spec: ModelSpec, progress: ProgressCallback) -> ModelSource:
    """Find the model, downloading or converting it if necessary; the weights of a model of the Hub come later.

    A folder with nothing but an adapter stands for the model that the adapter names, with the adapter. Raises
    ModelRequestError, HubUnreachableError, DamagedFileError or LoadError.
    """
    found = _found(spec, progress)
    base = base_of(found.folder) if found.gguf is None else None
    if base is None:
        return found
    try:
        under = _found(replace(spec, name=_base_name(found, base)), progress)
    except (ModelRequestError, HubUnreachableError) as error:
        raise type(error)(f"{found.name} is an adapter for {short(base)}, which cannot be had: {error}") from error
    return _adapted(under, found)


def _adapted(model: ModelSource, adapter: ModelSource) -> ModelSource:
    if model.gguf is not None or base_of(model.folder) is not None:
        raise ModelRequestError(
            f"{adapter.name} is an adapter for {model.name}, which is no folder of a whole model: correct "
            "base_model_name_or_path in its adapter_config.json"
        )
    return replace(model, name=f"{adapter.name} on {model.name}", adapter=adapter)


def _base_name(adapter: ModelSource, base: str) -> str:
    """The model that an adapter names: a folder beside the adapter goes before one of the working directory."""
    beside = adapter.folder / base
    return str(beside) if not Path(base).is_absolute() and beside.is_dir() else base


def _found(spec: ModelSpec, progress: ProgressCallback) -> ModelSource:
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
    return ModelSource(name, folder, on_hub=True, hub_name=name)


def download_weights(source: ModelSource, spec: ModelSpec, progress: ProgressCallback) -> None:
    """Download the weights that are still on the Hub alone. Raises what `find_source` raises."""
    for each in (source, source.adapter):
        if each is not None and each.on_hub:
            hub.download_weights(each.hub_name, each.folder, progress, allow_pickle=spec.allow_pickle)
            check_folder(each.folder)


def source_at_hand(name: str | None) -> ModelSource | None:
    """Where a model's small files are if nothing has to be downloaded or converted for them; else None.

    Whether the Hub has newer ones is not asked. Raises ModelRequestError or DamagedFileError as `find_source` does.
    """
    found = _at_hand(DEMO_MODEL if name is None else name)
    base = None if found is None or found.gguf is not None else base_of(found.folder)
    if found is None or base is None:
        return found
    under = _at_hand(_base_name(found, base))
    return None if under is None else _adapted(under, found)


def _at_hand(name: str) -> ModelSource | None:
    there = _on_this_machine(name)
    if there is not None or name == DEMO_MODEL or _is_path(name) or not hub.looks_like_a_hub_name(name):
        return there
    folder = hub.cached(name)
    return None if folder is None else ModelSource(name, folder, on_hub=True, hub_name=name)


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
