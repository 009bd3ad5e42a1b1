"""Hashes of tensors, to test bitwise equality without keeping the tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from torch import Tensor

_ROW = 65_536
_ROWS_AT_ONCE = 16
_WORD = 8
_CPU = torch.device("cpu")
_SEED = 0x5EED
_REST = 0x9E3779B97F4A7C1
_INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def fingerprint_of(tensor: Tensor) -> Tensor:
    """A hash of a tensor's bits: a scalar int64 tensor on the same device. Does not wait for the device.

    Multilinear hashing modulo 2**64 of words of 8 bytes: each times a fixed random odd number for its place, added up.
    One word that differs always shows; several, moved or swapped ones too, but for a chance of about one in 2**63.
    Larger tensors are hashed in rows of 65,536 words, and then the rows' hashes.
    """
    # torch's own hash_tensor is an exclusive or: it takes any order of the same elements for equal.
    words, rest = _words(tensor)
    hashed = _hash_of_any_length(words)
    return hashed if rest is None else hashed ^ _hashed(rest.flip(0)) * _REST


def read_together(numbers: Sequence[int | Tensor]) -> list[int]:
    """Numbers on the host, those of scalar int64 tensors with one copy from each device. Waits for the devices."""
    found: dict[int, int] = {}
    for device in {each.device for each in numbers if isinstance(each, Tensor)}:
        there = [at for at, each in enumerate(numbers) if isinstance(each, Tensor) and each.device == device]
        found |= zip(there, torch.stack([torch.as_tensor(numbers[at]) for at in there]).tolist(), strict=True)
    return [found[at] if at in found else int(each) for at, each in enumerate(numbers)]


def fingerprints_of_rows(matrix: Tensor) -> Tensor:
    """`fingerprint_of` each row of a matrix (rows, width), one row or more: (rows,) int64. Does not wait."""
    plain = matrix.detach().contiguous()
    size, width = plain.element_size(), plain.shape[1]
    each = max(1, _WORD // size)
    if size > _WORD or width // each > _ROW:
        return torch.stack([fingerprint_of(row) for row in plain])
    if plain.storage_offset() % each:
        plain = plain.clone()
    rest = width % each
    whole = width - rest
    words = plain[:, :whole].reshape(-1).view(torch.int64).reshape(len(plain), whole // each)
    at_once = max(1, _ROW * _ROWS_AT_ONCE // max(1, words.shape[1]))
    factors = _factors(words.device)
    # The same numbers either way; on the CPU the products need not be written down first.
    if words.is_cpu:
        parts = [torch.mv(words, factors[: words.shape[1]])]
    else:
        parts = [(part * factors[: words.shape[1]]).sum(-1) for part in torch.split(words, at_once)]
    hashed = parts[0] if len(parts) == 1 else torch.cat(parts)
    if not rest:
        return hashed
    left = plain[:, whole:].contiguous().view(_INTEGERS[size]).to(torch.int64).flip(1)
    return hashed ^ (left * factors[:rest]).sum(-1) * _REST


def _hash_of_any_length(words: Tensor) -> Tensor:
    if len(words) <= _ROW:
        return _hashed(words)
    whole = len(words) // _ROW * _ROW
    rows = [_hashed_rows(part) for part in torch.split(words[:whole].view(-1, _ROW), _ROWS_AT_ONCE)]
    return _hash_of_any_length(torch.cat([*rows, _hashed(words[whole:]).reshape(1)]))


def _hashed(words: Tensor) -> Tensor:
    """The hash of int64 words (n,), n up to 65,536: a scalar."""
    # The same number either way; on the CPU the products need not be written down first.
    if words.is_cpu:
        return torch.dot(words, _factors(_CPU)[: len(words)])
    return (words * _factors(words.device)[: len(words)]).sum()


def _hashed_rows(words: Tensor) -> Tensor:
    """The hash of each row of int64 words (rows, 65,536): (rows,)."""
    hashed: Tensor = (words * _factors(words.device)).sum(-1)
    # They are hashed again: the high bits depend on all of the low ones of each word, and not the other way round.
    return hashed ^ (hashed >> 32)


def _words(tensor: Tensor) -> tuple[Tensor, Tensor | None]:
    """A tensor's bits in order as int64 (n,), and the elements left at the end as a word each; None if none are."""
    plain = tensor.detach().contiguous().reshape(-1)
    size = plain.element_size()
    if size > _WORD:
        return torch.view_as_real(plain).reshape(-1).view(torch.int64), None
    each = _WORD // size
    if plain.storage_offset() % each:
        plain = plain.clone()
    rest = plain.numel() % each
    if not rest:
        return plain.view(torch.int64), None
    return plain[:-rest].view(torch.int64), plain[-rest:].view(_INTEGERS[size]).to(torch.int64)


@lru_cache(maxsize=16)
def _factors(device: torch.device) -> Tensor:
    """Odd numbers (65,536,) int64, the same on every device and in every process."""
    generator = torch.Generator().manual_seed(_SEED)
    numbers = torch.randint(-(2**63), 2**63 - 1, (_ROW,), dtype=torch.int64, generator=generator)
    return (numbers | 1).to(device)
