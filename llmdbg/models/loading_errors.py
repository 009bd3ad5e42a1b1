"""Errors of the libraries that load a model, each as one clear error of ours, with the original chained for the log."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pickle import UnpicklingError
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError

from llmdbg.errors import DamagedFileError, LlmdbgError, LoadError, ModelRequestError, OutOfMemoryError
from llmdbg.formatting import byte_count

_DAMAGE = (SafetensorError, UnpicklingError, EOFError, BadZipFile)
"""The exceptions that weight readers raise for truncated or corrupt files."""


@contextmanager
def clear_errors(name: str, needed: int | None) -> Iterator[None]:
    """Turn a library's exceptions into ours, whose one-line message says what they mean.

    `needed` is how many bytes the weights take, if that is known.
    """
    try:
        yield
    except LlmdbgError:
        raise
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemoryError(f"{_too_large(name, needed)} on the GPU ({_first_line(error)})") from error
    except MemoryError as error:
        raise OutOfMemoryError(_too_large(name, needed)) from error
    except Exception as error:  # transformers can raise anything, and only the text says what it means
        raise _explained(name, needed, error) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there is not enough memory, on a GPU or beside it."""
    text = str(error)
    says_so = "can't allocate memory" in text or "not enough memory" in text
    return says_so or isinstance(error, MemoryError | torch.OutOfMemoryError)


def _explained(name: str, needed: int | None, error: Exception) -> LlmdbgError:
    text = str(error)
    if is_out_of_memory(error):
        return OutOfMemoryError(_too_large(name, needed))
    if "trust_remote_code" in text:
        return ModelRequestError(f"{name} comes with its own Python code: add --trust-remote-code if you trust it")
    if "attention" in text.lower() and ("not support" in text or "toggled on" in text):
        return ModelRequestError(f"{name} does not support this --attn: {_first_line(error)}")
    if isinstance(error, ImportError):
        return ModelRequestError(f"{name} needs a package that is not installed: {_first_line(error)}")
    if re.search(r"size mismatch|ignore_mismatched_sizes", text):
        return LoadError(
            f"the weights of {name} do not have the shapes that its config.json gives: the two do not match"
        )
    if isinstance(error, _DAMAGE) or "PytorchStreamReader" in text or "unexpected EOF" in text:
        return DamagedFileError(f"the weights of {name} are damaged ({_first_line(error)}): download them again")
    return LoadError(
        f"{name} could not be loaded: {type(error).__name__}: {_first_line(error)}. Check that its config.json and "
        "weights are complete and match"
    )


def _too_large(name: str, needed: int | None) -> str:
    size = "more memory than there is" if not needed else f"{byte_count(needed)} of memory, more than there is"
    return f"{name} needs {size}: choose a smaller --dtype, --quantize, another --device or a smaller model"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:240]
