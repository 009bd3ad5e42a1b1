"""What a tokenizer's files may ask for: a class that is a tokenizer, and no more time and memory than one takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import DamagedFileError
from llmdbg.models.bounded import BoundExceededError, WorkFailedError, run_bounded
from llmdbg.models.checkpoints import read_json
from llmdbg.models.tokenizer_growth import check_growth

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_CONFIG = "tokenizer_config.json"
_NAMING = (_CONFIG, "config.json")
_SECONDS, _MEMORY, _MOST_TEXT = 30, 3 * 2**30, 1000
_ORDINARY = 100_000
_LIMIT = "model_max_length"
"""The one number that is often huge, and makes nothing."""


def load_bounded(folder: Path, name: str, load: Callable[[], PreTrainedTokenizerBase]) -> PreTrainedTokenizerBase:
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
