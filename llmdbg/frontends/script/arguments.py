"""Checks the arguments of a call, one by one. Each check raises UsageError, in one line that names the parameter."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.display import short
from llmdbg.errors import UsageError
from llmdbg.formatting import listed, with_article

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_PLAIN = (str, int, float, bytes, type(None))


def refusal(name: str, wanted: str, value: object) -> UsageError:
    """The error for an argument of the wrong type or value; `wanted` completes "NAME takes …"."""
    # The repr of a model or a tensor fills a page.
    # `short` writes 1.0 as 1, which is the whole number that was wanted.
    plain = repr if isinstance(value, float) else short
    given = plain(value) if isinstance(value, _PLAIN) else with_article(type(value).__name__)
    return UsageError(f"{name} takes {wanted}, not {given}")


def text(name: str, value: object) -> str:
    """A string."""
    if not isinstance(value, str):
        raise refusal(name, "text", value)
    return value


def optional_text(name: str, value: object) -> str | None:
    """A string, or None."""
    if value is not None and not isinstance(value, str):
        raise refusal(name, "text or None", value)
    return value


def flag(name: str, value: object) -> bool:
    """True or False; nothing else that is truthy or falsy."""
    if not isinstance(value, bool):
        raise refusal(name, "True or False", value)
    return value


def choice(name: str, value: object, choices: Collection[str]) -> str:
    """One of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise refusal(name, listed([f"{each!r}" for each in choices], "or"), value)
    return value


def optional_choice(name: str, value: object, choices: Collection[str]) -> str | None:
    """One of `choices`, or None."""
    if value is not None and (not isinstance(value, str) or value not in choices):
        raise refusal(name, listed([*(f"{each!r}" for each in choices), "None"], "or"), value)
    return value


def whole(name: str, value: object) -> int:
    """A whole number, including NumPy's."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise refusal(name, "a whole number", value)
    return int(value)


def optional_whole(name: str, value: object) -> int | None:
    """A whole number, or None."""
    if isinstance(value, bool) or not isinstance(value, Integral | None):
        raise refusal(name, "a whole number or None", value)
    return None if value is None else int(value)


def optional_number(name: str, value: object) -> float | None:
    """A real number, or None."""
    if isinstance(value, bool) or not isinstance(value, Real | None):
        raise refusal(name, "a number or None", value)
    try:
        return None if value is None else float(value)
    except OverflowError:
        raise refusal(name, "a number or None", value) from None


def texts(name: str, value: object, wanted: str = "a list of strings") -> tuple[str, ...]:
    """Several strings. A single string is refused, since it would be read letter by letter."""
    found = tuple(value) if isinstance(value, Iterable) and not isinstance(value, str | bytes) else None
    if found is None:
        raise refusal(name, wanted, value)
    for index, each in enumerate(found):
        text(f"{name}[{index}]", each)
    return found


def model_or_name(value: Any, name: str = "model") -> str | PreTrainedModel | None:
    """A loaded model, or where to find one: a name, a path, or None for the demo model."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, os.PathLike):
        # Absolute, so that a missing folder is not taken for a name on the Hub.
        return str(Path(value).expanduser().absolute())
    from transformers import PreTrainedModel

    from llmdbg.models.compiled import WRAPPER

    if type(value).__name__ == WRAPPER:
        raise UsageError(
            f"{name} is what torch.compile returned, which has no stages: give the model that was compiled"
        )
    if not isinstance(value, PreTrainedModel):
        raise refusal(name, "a name, a path, a loaded transformers model or None", value)
    return value


def optional_tokenizer(value: Any) -> Any:
    """A transformers tokenizer, or None."""
    if value is None:
        return None
    from transformers import PreTrainedTokenizerBase

    if not isinstance(value, PreTrainedTokenizerBase):
        raise refusal("tokenizer", "a transformers tokenizer or None", value)
    return value


def in_python(message: str, parameters: Collection[str], flags: Collection[str]) -> str:
    """Rewrite a message about command-line options for a Python call.

    The code below this layer says `--top-k`, `top-k` and `--greedy`; here they are `top_k`, `top_k` and `greedy=True`.
    """

    def spelled(match: re.Match[str]) -> str:
        name = match["name"].replace("-", "_")
        if name not in parameters or not (match["dashes"] or "_" in name):
            return match[0]
        return f"{name}=True" if match["dashes"] and name in flags else name

    message = re.sub(r"(?<![\w-])(?P<dashes>--)?(?P<name>[a-z]+(?:-[a-z]+)*)(?![\w-])", spelled, message)
    return message.replace("such as -n for", "such as max_new_tokens for").replace("MODEL is", "model is")
