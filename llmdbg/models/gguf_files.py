"""GGUF files, checked before transformers reads one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

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
