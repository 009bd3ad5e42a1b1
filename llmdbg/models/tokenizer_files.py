"""What a tokenizer's files may ask for: a class that is a tokenizer, and no more time and memory than one takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import DamagedFileError, LoadError, ModelRequestError
from llmdbg.models.bounded import BoundExceededError, WorkFailedError, run_bounded
from llmdbg.models.checkpoints import has_tokenizer, read_json
from llmdbg.models.tokenizer_calls import is_panic
from llmdbg.models.tokenizer_growth import check_growth

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from llmdbg.models.sources import ModelSource
    from llmdbg.models.spec import ModelSpec

_CONFIG = "tokenizer_config.json"
_NAMING = (_CONFIG, "config.json")
_SECONDS, _MEMORY, _MOST_TEXT = 30, 3 * 2**30, 1000
_ORDINARY = 100_000
_LIMIT = "model_max_length"
"""The one number that is often huge, and makes nothing."""


def load_tokenizer(source: ModelSource, spec: ModelSpec) -> PreTrainedTokenizerBase | None:
    """The model's tokenizer; None if it has none, which is good enough for random weights.

    Raises LoadError for a folder without one, ModelRequestError for one that is Python code that may not run, and
    DamagedFileError for files that make no tokenizer, or cost too much.
    """
    from transformers import AutoTokenizer

    if source.gguf is None and not has_tokenizer(source.tokenizer_folder):
        if spec.random_weights:
            return None
        raise LoadError(
            f"{source.tokenizer_folder} has no tokenizer (no tokenizer.json or tokenizer.model): download the "
            "tokenizer's files"
        )

    def read() -> PreTrainedTokenizerBase:
        found: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            source.tokenizer_folder, trust_remote_code=spec.trust_remote_code, **files
        )
        return found

    files: dict[str, Any] = {} if source.gguf is None else {"gguf_file": source.gguf.path.name}
    try:
        if source.gguf is not None:
            return read()
        return _load_bounded(source.tokenizer_folder, source.name, read)
    except DamagedFileError:
        raise
    except BaseException as error:  # a tokenizer's files can make its class fail in any way
        if not isinstance(error, Exception) and not is_panic(error):
            raise
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        if "trust_remote_code" in reason:
            raise ModelRequestError(
                f"the tokenizer of {source.name} comes with Python code: add --trust-remote-code if you trust it"
            ) from error
        raise DamagedFileError(
            f"the tokenizer of {source.name} cannot be read ({reason}): {_remedy(source)}"
        ) from error


def _remedy(source: ModelSource) -> str:
    versioned = sorted(source.tokenizer_folder.glob("tokenizer.model.v*"))
    if versioned and not (source.tokenizer_folder / "tokenizer.model").exists():
        return f"transformers reads {versioned[-1].name} only under the name tokenizer.model, so copy it to that name"
    return "download it again"


def _load_bounded(folder: Path, name: str, load: Callable[[], PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase:
    """What `load()` returns. Raises DamagedFileError for files that name no tokenizer, or cost too much.

    Files in which anything may be large are tried in a process of their own first. `tokenizer.json` with ordinary
    numbers beside it is not: what that takes grows with the file alone. transformers would make an object of whatever
    class of its own the files name, a model and its weights too.
    """
    _require_tokenizer_class(folder)
    if not _is_ordinary(folder):
        try:
            run_bounded(lambda: type(load()).__name__, seconds=_SECONDS, memory=_MEMORY, most=_MOST_TEXT)
        except BoundExceededError as error:
            raise DamagedFileError(
                f"the tokenizer of {name} {error}: its files are damaged, or not to be trusted"
            ) from error
        except WorkFailedError:
            pass  # it fails again below, and is reported there
    tokenizer = load()
    check_growth(tokenizer, name)
    return tokenizer


def _require_tokenizer_class(folder: Path) -> None:
    import transformers

    for file in _NAMING:
        named = _written(folder / file).get("tokenizer_class")
        if not isinstance(named, str) or not named.isidentifier():
            continue
        kind = getattr(transformers, named, None)
        is_one = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedTokenizerBase)
        # A missing one may come with the model, as Python code.
        if kind is not None and not is_one and type(kind).__name__ != "DummyObject":
            raise DamagedFileError(f"{folder / file} names {named} as the tokenizer's class, which is no tokenizer")


def _is_ordinary(folder: Path) -> bool:
    numbers = [value for key, value in _written(folder / _CONFIG).items() if isinstance(value, int) and key != _LIMIT]
    return (folder / "tokenizer.json").is_file() and all(abs(number) <= _ORDINARY for number in numbers)


def _written(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    found = read_json(path)
    return found if isinstance(found, dict) else {}
