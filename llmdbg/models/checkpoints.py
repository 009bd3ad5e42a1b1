"""A model folder, checked before anything is loaded from it.

A safetensors file is 8 bytes of header length (little-endian), a JSON header with each tensor's dtype, shape and byte
range, and then the bytes. So a truncated file is recognised by its size alone.
"""

from __future__ import annotations

import json
import math
import os
import struct
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmdbg.errors import DamagedFileError, LoadError, ModelRequestError
from llmdbg.files import read_regular, require_regular
from llmdbg.formatting import byte_count

TOKENIZER_FILES: tuple[str, ...] = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer.model.v3",
    "tekken.json",
    "vocab.json",
    "vocab.txt",
)
TOKENIZER_FILES += ("spiece.model", "sentencepiece.bpe.model", "qwen.tiktoken", "tiktoken.model", "merges.txt")
PICKLE_PATTERNS = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")
FLOATS = ("F64", "F32", "F16", "BF16")
"""The dtypes whose stored numbers are the weights themselves, as safetensors writes them."""
_SAFETENSORS, _SAFETENSORS_INDEX = "model.safetensors", "model.safetensors.index.json"
_PICKLE_ENDINGS = tuple(pattern.removeprefix("*") for pattern in PICKLE_PATTERNS)
_PICKLED, _PICKLED_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
_MOST_JSON_BYTES = 64 * 2**20  # parsed, thirty times as much
_MOST_DIMENSIONS, _MOST_SIZE = 64, 2**63
_MOST_BYTES = {".json": 2**30, ".jinja": 2**20, ".txt": 2**30, ".model": 2**30, ".tiktoken": 2**30}
"""How large a small file of a model may be: what libraries read whole."""


@dataclass(frozen=True, slots=True)
class TensorEntry:
    """One tensor of a safetensors file."""

    name: str
    """The name of the weight."""
    bytes: int
    """Its size in the file."""
    shape: tuple[int, ...]
    """Its shape."""
    dtype: str
    """As the format writes it: `F32`, `BF16`."""

    @property
    def numel(self) -> int:
        """The number of its values."""
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class WeightFiles:
    """The files that hold a folder's weights, each checked to be complete."""

    tensors: tuple[TensorEntry, ...] = ()
    """Every tensor of its safetensors files, from their headers; empty for pickled weights."""
    absent: tuple[str, ...] = ()
    """The names that the index of a sharded folder lists and that no file holds; unknown for pickled weights."""


def check_folder(folder: Path) -> None:
    """Raise DamagedFileError for a file in `folder` that a library would read forever, or that is far too large."""
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        path = Path(entry.path)
        try:
            # The Hub's cache consists of links to files.
            found = entry.stat()
        except OSError:
            continue  # what is needed and not there is reported when it is read
        if entry.is_dir():
            continue
        try:
            require_regular(found, path)
        except OSError as error:
            raise DamagedFileError(f"{path} cannot be part of a model: {error.strerror}") from error
        most = _MOST_BYTES.get(path.suffix, found.st_size)
        if found.st_size > most:
            raise DamagedFileError(f"{path} is larger than {byte_count(most)}: no file of its kind is")


def read_config(folder: Path) -> dict[str, Any]:
    """The folder's config.json. Raises LoadError when it is missing, DamagedFileError when it is not JSON."""
    path = folder / "config.json"
    if not path.is_file():
        raise LoadError(f"{folder} has no config.json, so it is not a model folder: name one that has")
    config = read_json(path)
    if not isinstance(config, dict):
        raise DamagedFileError(f"{path} is not a configuration: it should hold a JSON object")
    return config


def weight_files(folder: Path, *, allow_pickle: bool, named: str | None = None) -> WeightFiles:
    """Check the files that transformers will read, which are safetensors or, if allowed, pickled.

    `named` is the file or index that the configuration names (`transformers_weights`), if it does. Raises
    ModelRequestError for pickled weights without `allow_pickle`, LoadError if there are no weights at all, and
    DamagedFileError for a file that is missing, truncated or not in its format.
    """
    index = _json_index(folder, named, _SAFETENSORS, _SAFETENSORS_INDEX)
    single = folder / (named or _SAFETENSORS)
    if index is not None:
        found = tuple(each for path in _indexed_files(*index, (".safetensors",)) for each in tensors(path))
        held = {each.name for each in found}
        return WeightFiles(found, tuple(name for name in index[1] if name not in held))
    if single.is_file():
        return WeightFiles(tuple(tensors(single)))
    if named is not None:
        raise LoadError(f"{folder} lacks {named}, which its config.json names as the weights: download it")
    pickled = sorted(path for pattern in PICKLE_PATTERNS for path in folder.glob(pattern) if _may_be_weights(path))
    if pickled and not allow_pickle:
        raise ModelRequestError(
            f"{folder} has only pickled weights ({pickled[0].name}), and unpickling can run code: use a "
            "safetensors copy, or add --allow-pickle if you trust their source"
        )
    index = _json_index(folder, None, _PICKLED, _PICKLED_INDEX)
    for path in _indexed_files(*index, _PICKLE_ENDINGS) if index is not None else pickled:
        _check_pickle(path)
    if not pickled:
        raise LoadError(
            f"{folder} has no weights (no *.safetensors): download them, or add --random-weights to do without"
        )
    return WeightFiles()


def has_tokenizer(folder: Path) -> bool:
    """Whether the folder has the vocabulary file of any kind of tokenizer."""
    return any((folder / name).is_file() for name in TOKENIZER_FILES) or any(folder.glob("tokenizer.model*"))


def tensors(path: Path) -> list[TensorEntry]:
    """The tensors of a safetensors file, from its header. Raises DamagedFileError if the file is not complete."""
    size = path.stat().st_size
    header, start = _header(path, size)
    entries, end = [], 0
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if (made := _entry(name, entry)) is None:
            raise DamagedFileError(f"{path} is damaged (its header makes no sense): download it again")
        entries.append(made)
        end = max(end, entry["data_offsets"][1])
    if size < start + end:
        raise DamagedFileError(f"{path} is truncated: it has {size:,} of {start + end:,} bytes. Download it again")
    if size > start + end:
        raise DamagedFileError(
            f"{path} has {size - start - end:,} bytes more than its header accounts for, so it is not what was "
            "published: download it again"
        )
    return entries


def _entry(name: str, entry: Any) -> TensorEntry | None:
    """A tensor of a header; None for anything but one."""
    try:
        shape, (first, last), dtype = entry["shape"], entry["data_offsets"], entry["dtype"]
        numbers = [first, last, *shape]
    except (KeyError, TypeError, ValueError):
        return None
    sound = all(type(each) is int and 0 <= each < _MOST_SIZE for each in numbers) and isinstance(dtype, str)
    if not sound or first > last or len(shape) > _MOST_DIMENSIONS:
        return None
    return TensorEntry(name, last - first, tuple(shape), dtype)


def _check_pickle(path: Path) -> None:
    """Check without unpickling whether a file is complete: torch writes zip archives, with their table at the end."""
    with path.open("rb") as file:
        prefix = file.read(8)
    _refuse_pointer(path, prefix)
    if prefix.startswith(b"PK") and not zipfile.is_zipfile(path):
        raise DamagedFileError(f"{path} is truncated ({path.stat().st_size:,} bytes): download it again")
    # Before it wrote archives, torch wrote plain pickles.
    if len(prefix) < 8 or not prefix.startswith((b"PK", b"\x80")):
        raise DamagedFileError(f"{path} does not hold weights saved by torch: download it again")


def _refuse_pointer(path: Path, prefix: bytes) -> None:
    if prefix.startswith(b"version "):
        raise DamagedFileError(f"{path} is a Git LFS pointer, not the weights: run `git lfs pull` in its folder")


def _header(path: Path, size: int) -> tuple[dict[str, Any], int]:
    with path.open("rb") as file:
        prefix = file.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else _MOST_JSON_BYTES
        _refuse_pointer(path, prefix)
        if 8 + length > size or length > _MOST_JSON_BYTES:
            plausible = length < _MOST_JSON_BYTES
            detail = f"it has {size:,} bytes, and its header alone has {length:,}" if plausible else "it has no header"
            raise DamagedFileError(f"{path} is truncated or not a safetensors file ({detail}): download it again")
        raw = file.read(length)
    try:
        header = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise DamagedFileError(
            f"{path} is not a safetensors file (its header is not JSON): download it again"
        ) from error
    if not isinstance(header, dict):
        raise DamagedFileError(f"{path} is not a safetensors file (its header is not a JSON object): download it again")
    return header, 8 + length


def _json_index(folder: Path, named: str | None, single: str, index: str) -> tuple[Path, dict[str, str]] | None:
    """The index that transformers will read, with the file of each tensor; None where it reads a single file."""
    if named is not None:
        _require_inside(folder / "config.json", [named], (".safetensors", ".safetensors.index.json"))
    path = folder / (named or index)
    if path.suffix != ".json" or not path.is_file() or (named is None and (folder / single).is_file()):
        return None
    try:
        return path, {str(name): str(file) for name, file in read_json(path)["weight_map"].items()}
    except (KeyError, TypeError, AttributeError) as error:
        raise DamagedFileError(f"{path} is damaged (it has no weight_map): download it again") from error


def _indexed_files(path: Path, weight_map: dict[str, str], endings: tuple[str, ...]) -> list[Path]:
    names = sorted(set(weight_map.values()))
    _require_inside(path, names, endings)
    missing = [name for name in names if not (path.parent / name).is_file()]
    if missing:
        raise DamagedFileError(
            f"{path.parent} lacks {len(missing)} of the {len(names)} weight files in {path.name} ({missing[0]} first): "
            "download them"
        )
    return [path.parent / name for name in names]


def _require_inside(path: Path, names: Iterable[str], endings: tuple[str, ...]) -> None:
    """Raise DamagedFileError if `path` names a file outside its folder, or one in another format than `endings`."""
    for name in names:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise DamagedFileError(f"{path} names a file that is outside its folder: {name}")
        if not name.endswith(endings):
            wanted = "safetensors" if ".safetensors" in endings else "pickled weights"
            raise DamagedFileError(f"{path} names weights that are no {wanted}: {name}")


def _may_be_weights(path: Path) -> bool:
    return path.name not in ("training_args.bin", "optimizer.bin", "scheduler.bin", "optimizer.pt", "scheduler.pt")


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises DamagedFileError for anything that is not JSON."""
    try:
        return json.loads(read_regular(path, _MOST_JSON_BYTES).decode())
    except RecursionError as error:
        raise DamagedFileError(f"{path} is nested too deep: download it again") from error
    except ValueError as error:
        raise DamagedFileError(f"{path} is not JSON ({error}): download it again") from error
    except OSError as error:
        raise LoadError(f"cannot read {path}: {error.strerror or error}") from error
