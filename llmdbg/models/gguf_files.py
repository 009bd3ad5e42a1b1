"""GGUF files, checked before transformers reads one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llmdbg.errors import DamagedFileError, LoadError, ModelRequestError
from llmdbg.models.gguf_header import HeaderError, check_header


@dataclass(frozen=True, slots=True)
class GgufFile:
    """What a GGUF file holds."""

    path: Path
    """The file, as an absolute path."""
    parameters: int
    """The number of weights."""


def inspect_gguf(path: Path) -> GgufFile:
    """Read a GGUF file's header.

    Raises DamagedFileError for a file that is not GGUF or is truncated, ModelRequestError for an architecture that
    transformers cannot read from GGUF, and LoadError for a file that names none.
    """
    import gguf

    with path.open("rb") as file:
        magic = file.read(4)
    if magic != b"GGUF":
        raise DamagedFileError(f"{path} is not a GGUF file (it does not begin with GGUF): download it again")
    try:
        check_header(path)
    except HeaderError as error:
        raise DamagedFileError(f"{path} is truncated or damaged ({error}): download it again") from error
    try:
        reader = gguf.GGUFReader(path)
        field = reader.get_field("general.architecture")
        architecture = str(field.contents()) if field is not None else ""
        parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
        end = max((int(tensor.data_offset) + int(tensor.n_bytes) for tensor in reader.tensors), default=0)
    except Exception as error:  # the reader does not validate: a damaged file makes it fail in any way
        raise DamagedFileError(f"{path} is truncated or damaged: download it again") from error
    if path.stat().st_size < end:
        raise DamagedFileError(
            f"{path} is truncated: it has {path.stat().st_size:,} of {end:,} bytes. Download it again"
        )
    _check_architecture(path, architecture)
    return GgufFile(path, parameters)


@contextmanager
def dropped_tensors() -> Iterator[list[str]]:
    """Within this context, gather the names of the tensors that transformers leaves out of the GGUF files it reads.

    Its reader passes over what it has no name for, and tells nobody. There is no public way to learn of it, so the
    table of names that it looks them up in is replaced by one that notes what it lacks. `tests/models/
    test_gguf_files.py` fails when that table is gone.
    """
    import transformers.modeling_gguf_pytorch_utils as reader

    dropped: list[str] = []
    made = reader.get_gguf_hf_weights_map

    class Noting(dict[str, str]):
        def __contains__(self, name: object) -> bool:
            known = super().__contains__(name)
            if not known and isinstance(name, str):
                dropped.append(name)
            return known

    def noting(*arguments: Any, **settings: Any) -> Noting:
        return Noting(made(*arguments, **settings))

    reader.get_gguf_hf_weights_map = noting
    try:
        yield dropped
    finally:
        reader.get_gguf_hf_weights_map = made


def _check_architecture(path: Path, architecture: str) -> None:
    from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

    # Files say `qwen2moe` and `gpt-oss` where transformers' table says `qwen2_moe` and `gpt_oss`.
    known = {_letters(name) for name in GGUF_SUPPORTED_ARCHITECTURES} - {"general", "tokenizer"}
    if not architecture:
        raise LoadError(f"{path} does not say which architecture it is for: use another copy")
    if _letters(architecture) not in known:
        raise ModelRequestError(
            f"{path.name} has the architecture {architecture!r}, which transformers cannot read from GGUF: use the "
            "model's safetensors folder instead"
        )


def _letters(name: str) -> str:
    return name.replace("_", "").replace("-", "")
