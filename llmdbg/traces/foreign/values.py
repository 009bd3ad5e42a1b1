"""Tensors in the files of a dump. Nothing is believed and nothing is unpickled but tensors and plain containers."""

from __future__ import annotations

import io
import math
import os
import re
import zipfile
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmdbg.errors import TraceError
from llmdbg.files import why_not
from llmdbg.traces.foreign.dump import MOST_VALUES
from llmdbg.traces.safetensors_files import open_regular, read_header
from llmdbg.traces.tensor_files import read_tensor

if TYPE_CHECKING:
    from torch import Tensor

_MOST_FILE_BYTES = 64 * 2**30
_MOST_PICKLE_BYTES = 64 * 2**20
_MOST_NPY_HEADER = 10_000
_MOST_NAMES = 2**16
_NPY = re.compile(
    rb"\x93NUMPY(?:\x01\x00..|\x02\x00....)\{'descr': '(?P<dtype>[<>|=]?[biufc]\d{1,2})', "
    rb"'fortran_order': (?P<by_column>True|False), 'shape': \((?P<shape>[\d, ]{0,400})\), \} *\n",
    re.DOTALL,
)


def safetensors_in(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file. Raises TraceError."""
    header = read_header(path)
    return {name: bounded(read_tensor(path, header, entry), path) for name, entry in header.entries.items()}


def pt_in(path: Path) -> Any:
    """What a file of torch.save holds: tensors in plain containers, and nothing that runs code. Raises TraceError."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            return _loaded(file, path)
    except OSError as error:
        raise TraceError(f"cannot read {path}: {why_not(error)}") from error


def pt_of(data: bytes, path: Path) -> Any:
    """As `pt_in`, of bytes that lie within `path`."""
    return _loaded(io.BytesIO(data), path)


def _loaded(file: Any, path: Path) -> Any:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    try:
        with closing(zipfile.ZipFile(file)) as archive:
            entries = archive.infolist()
        # torch.save compresses nothing: what is compressed may unpack to any size.
        stored = all(each.compress_type == zipfile.ZIP_STORED and each.file_size <= size for each in entries)
        pickles = [each.file_size for each in entries if each.filename.endswith(".pkl")]
        if not stored or sum(each.file_size for each in entries) > size or sum(pickles) > _MOST_PICKLE_BYTES:
            raise TraceError(f"{path} is damaged: its parts are larger than the file")
        if size > _MOST_FILE_BYTES or len(entries) > _MOST_NAMES:
            raise TraceError(f"{path} is too large to be read")
    except (zipfile.BadZipFile, NotImplementedError, ValueError, UnicodeDecodeError) as error:
        raise TraceError(f"{path} is damaged: it is no file of torch.save, which writes zip files") from error
    file.seek(0)
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    # The restricted unpickler raises whatever the bytes lead it to.
    except Exception as error:
        reason = " ".join(str(error).split())
        at = reason.find("Unsupported")
        raise TraceError(f"{path} holds more than tensors, or is damaged: {reason[max(at, 0) :][:160]}") from error


def npy_in(path: Path) -> Tensor:
    """The array of a file of numpy.save. Raises TraceError."""
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > _MOST_FILE_BYTES:
                raise TraceError(f"{path} is too large to be read")
            return npy_of(file.read(size), path)
    except OSError as error:
        raise TraceError(f"cannot read {path}: {why_not(error)}") from error


def npy_of(data: bytes, path: Path, where: str = "") -> Tensor:
    """The array that numpy.save wrote, checked against its size before any memory is taken. Raises TraceError."""
    # NumPy's own reader evaluates the header, and takes the memory that it asks for.
    match = _NPY.match(data[: _MOST_NPY_HEADER + 12])
    if match is None:
        raise TraceError(f"{path} is damaged{where}: it is no array of numbers as numpy.save writes it")
    shape = tuple(int(each) for each in match["shape"].split(b",") if each.strip())
    length = int.from_bytes(data[8:12] if data[6] == 2 else data[8:10], "little")
    start = length + (12 if data[6] == 2 else 10)
    try:
        dtype = np.dtype(match["dtype"].decode())
        if match.end() != start or math.prod(shape) * dtype.itemsize != len(data) - start:
            raise TraceError(f"{path} is damaged{where}: its shape does not fit its size")
        array = np.frombuffer(data, dtype, offset=start)
        array = array.reshape(shape, order="F" if match["by_column"] == b"True" else "C")
        return bounded(torch.from_numpy(np.array(array.astype(dtype.newbyteorder("="), copy=False), order="C")), path)
    except (ValueError, TypeError, OverflowError) as error:
        raise TraceError(f"{path} is damaged{where}: {' '.join(str(error).split())[:160]}") from error


def bounded(value: Tensor, path: Path) -> Tensor:
    """A tensor, unless it is too large to be looked at. Raises TraceError."""
    odd = value.is_sparse or value.is_quantized or value.is_nested or value.is_meta
    if odd:
        raise TraceError(f"{path} holds a tensor without plain values")
    # A stride of 0 makes any number of values out of one.
    if value.numel() > MOST_VALUES or value.numel() * value.element_size() > max(value.untyped_storage().nbytes(), 1):
        raise TraceError(f"{path} holds a tensor of {value.numel():,} values in fewer bytes, or too many to be read")
    return value.detach()


def inside(folder: Path, name: Any, path: Path) -> Path:
    """The file that `path` names by `name`, which must lie in `folder` itself and be no link. Raises TraceError."""
    text = str(name).removeprefix("./")
    if not isinstance(name, str) or text in ("", ".", "..") or "/" in text or "\\" in text or "\0" in text:
        raise TraceError(f"{path} names a file outside of its folder: {str(name)[:80]!r}")
    return folder / text


def ids_in(value: Any) -> tuple[int, ...]:
    """The ids in a tensor of whole numbers, of its first sequence; empty for anything else."""
    if not isinstance(value, torch.Tensor) or value.is_floating_point() or value.is_complex() or value.dim() == 0:
        return ()
    first = value.reshape(-1, value.shape[-1])[0] if value.numel() else value
    return tuple(int(each) for each in first.tolist()) if first.numel() <= 2**22 else ()
