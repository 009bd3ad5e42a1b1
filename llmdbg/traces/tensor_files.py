"""Whole tensors of a recording: which are kept, and the safetensors files that hold them.

A file holds tensors of one token, each named `ADDRESS/NAME`: `12.mlp/output`, `12/output.0`, `12/input.hidden_states`.
It is complete under its name or not there at all. Long tokens have several: `tensors-00012.safetensors`,
`tensors-00012-1.safetensors`. What another rank held otherwise than rank 0 is in files of its own:
`tensors-00012.rank-3.safetensors`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.errors import TraceError
from llmdbg.files import private_replacement, why_not
from llmdbg.traces.safetensors_files import Entry, FileHeader, header_bytes, open_regular, read_header
from llmdbg.traces.sketch import position_dimension

if TYPE_CHECKING:
    from torch import Tensor

MOST_TENSOR_BYTES = 16 * 2**30
"""A larger tensor of a recording is not read."""
_TORCH = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
}
_NAMES = {dtype: name for name, dtype in _TORCH.items()}
_DEEPEST = 8


@dataclass(frozen=True, slots=True)
class Keep:
    """Which whole tensors a recording keeps."""

    last: bool = False
    """The vector of the last position that each stage returns."""
    all: bool = False
    """Everything that every stage returns."""
    inputs: bool = False
    """The tensors among the arguments of every stage too."""
    addresses: frozenset[str] = frozenset()
    """Everything that these stages return."""

    @property
    def any(self) -> bool:
        """Whether any are kept."""
        return self.last or self.all or bool(self.addresses)

    def wants(self, address: str) -> bool:
        """Whether any of a stage's are kept."""
        return self.last or self.all or address in self.addresses

    def __str__(self) -> str:
        if self.inputs:
            return "inputs"
        return "all" if self.all else "last" if self.last else ",".join(sorted(self.addresses)) or "none"


KEEPS = {"none": Keep(), "last": Keep(last=True), "all": Keep(all=True), "inputs": Keep(all=True, inputs=True)}
"""What can be kept, by name; anything else names stages."""


def named_tensors(name: str, value: Any, depth: int = 0) -> dict[str, Tensor]:
    """Every tensor in a value, named by the path to it: `output`, or `output.0`, `output.hidden_states`."""
    if isinstance(value, torch.Tensor):
        return {name: value} if _can_be_kept(value) else {}
    if isinstance(value, Mapping):
        items = [(str(key), each) for key, each in value.items()]
    elif isinstance(value, (tuple, list)):
        items = [(str(place), each) for place, each in enumerate(value)]
    else:
        return {}
    found: dict[str, Tensor] = {}
    for key, each in items if depth < _DEEPEST else ():
        found |= named_tensors(f"{name}.{key}", each, depth + 1)
    return found


def input_width(args: Any, kwargs: Any, length: int, batch: int = 1) -> int | None:
    """How wide the vectors are that a module was given, in a forward over `batch` sequences of `length` positions.

    None if its arguments have not one floating-point tensor, or that has no vector for each position.
    """
    tensors = [*named_tensors("", args).values(), *named_tensors("", kwargs).values()]
    floating = [each for each in tensors if each.is_floating_point()]
    if len(floating) != 1:
        return None
    shape = tuple(floating[0].shape)
    where = position_dimension(shape, length, batch)
    if where is None or (where == -1 and floating[0].numel() != shape[-1]) or where == len(shape) - 1:
        return None
    return int(shape[-1])


def _can_be_kept(tensor: Tensor) -> bool:
    odd = tensor.is_sparse or tensor.is_quantized or tensor.is_nested or tensor.is_meta
    return not odd and tensor.dtype in _NAMES


class TensorWriter:
    """Writes tensors of a rank in files of one token. `pending` is how many bytes wait. Raises OSError."""

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self.pending = 0
        self._folder, self._rank = folder, rank
        self._token, self._part = -1, 0
        self._calls: dict[str, int] = {}
        self._waiting: dict[str, Tensor] = {}

    def add(self, token: int, address: str, named: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Keep tensors of a stage that nobody changes any more. Those of its later calls get the number of the call.

        Returns them by their whole names.
        """
        self._begin(token)
        call = self._calls[address] = self._calls.get(address, -1) + 1
        start = f"{address}#{call}" if call else address
        whole = {f"{start}/{name}": tensor for name, tensor in named.items()}
        for name, tensor in whole.items():
            self._waiting[name] = tensor
            self.pending += tensor.nbytes
        return whole

    def add_named(self, token: int, name: str, tensor: Tensor) -> None:
        """Keep a tensor under its whole name, `ADDRESS/NAME`."""
        self._begin(token)
        self._waiting[name] = tensor
        self.pending += tensor.nbytes

    def _begin(self, token: int) -> None:
        if token != self._token:
            self.flush()
            self._token, self._part, self._calls = token, 0, {}

    def flush(self) -> None:
        """Write down what waits, into a file of its own."""
        if not self._waiting:
            return
        waiting, self._waiting, self.pending = self._waiting, {}, 0
        path = self._folder / file_name(self._token, self._part, self._rank)
        with private_replacement(path) as new, new.open("wb") as file:
            file.write(
                header_bytes(
                    {
                        name: (_NAMES[each.dtype], tuple(each.shape), each.numel() * each.element_size())
                        for name, each in waiting.items()
                    }
                )
            )
            for each in waiting.values():
                file.write(_bytes_of(each))
        self._part += 1


def file_name(token: int, part: int = 0, rank: int = 0) -> str:
    """The name of a token's file of tensors: those that rank 0 held, whole, or those that were another rank's own."""
    return f"tensors-{token:05d}{f'.rank-{rank}' if rank else ''}{f'-{part}' if part else ''}.safetensors"


def _bytes_of(tensor: Tensor) -> memoryview:
    plain = tensor.detach().resolve_conj().resolve_neg().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().data if plain.numel() else memoryview(b"")


def read_tensor(path: Path, header: FileHeader, entry: Entry) -> Tensor:
    """One tensor of a file. Raises TraceError, naming the file."""
    size = entry.last - entry.first
    if size > MOST_TENSOR_BYTES:
        raise TraceError(f"{path} holds a tensor of {size:,} bytes, which is too large to be read")
    data = bytearray(size)
    got = 0
    try:
        file = open_regular(path)
        try:
            while got < size and (more := os.preadv(file, [memoryview(data)[got:]], header.start + entry.first + got)):
                got += more
        finally:
            os.close(file)
    except OSError as error:
        raise TraceError(f"cannot read {path}: {why_not(error)}") from error
    if got < size:
        raise TraceError(f"{path} is truncated")
    if not size:
        return torch.empty(entry.shape, dtype=_TORCH[entry.dtype])
    return torch.frombuffer(data, dtype=_TORCH[entry.dtype]).reshape(entry.shape)


class TensorReader:
    """Finds the tensors of a token in its files, those of one rank. Raises TraceError, naming the file."""

    def __init__(self, folder: Path, rank: int = 0) -> None:
        self._folder, self._rank = folder, rank
        self._headers: dict[int, list[tuple[Path, FileHeader]]] = {}

    def names(self, token: int, address: str) -> tuple[str, ...]:
        """The names of a stage's tensors."""
        start = f"{address}/"
        return tuple(
            name.removeprefix(start)
            for _, header in self._of(token)
            for name in header.entries
            if name.startswith(start)
        )

    def read(self, token: int, name: str) -> Tensor | None:
        """The tensor `ADDRESS/NAME` of a token; None if it was not kept."""
        for path, header in self._of(token):
            if (entry := header.entries.get(name)) is not None:
                return read_tensor(path, header, entry)
        return None

    def _of(self, token: int) -> list[tuple[Path, FileHeader]]:
        if token not in self._headers:
            if len(self._headers) > 64:
                self._headers.clear()
            found: list[tuple[Path, FileHeader]] = []
            while (path := self._folder / file_name(token, len(found), self._rank)).exists() or path.is_symlink():
                found.append((path, read_header(path)))
            self._headers[token] = found
        return self._headers[token]
