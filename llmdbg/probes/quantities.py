"""The quantities that a condition may use, by name, and what each name means.

There are no tensors here, so that a condition can be parsed and checked before torch is imported.
"""

from __future__ import annotations

import json
import re
from functools import lru_cache

QuantityValue = int | float | str | bool | None
"""The value of a name or an expression. None is unknown: it was not measured, or cannot be known at this stage."""

OF_OUTPUT = {
    "min": "the least value of the stage's output",
    "max": "its greatest value",
    "mean": "the mean of its finite values",
    "std": "their population standard deviation",
    "norm": "its L2 norm",
    "absmax": "its greatest magnitude",
    "nan": "how many of its values are NaN",
    "inf": "how many of its values are infinite",
}
"""Quantities of a stage's whole output, in float32; with the name of a local in parentheses, of that tensor."""

OF_PREDICTION = {
    "entropy": "Shannon's entropy of the next token's distribution, in nats",
    "top1": "the text of the likeliest next token",
    "top1_prob": "its probability",
}
"""Quantities of the next token: from the scores at stages that have them, from the lens before."""

OF_PLACE = {
    "token": "the number of the generated token, from 0",
    "layer": "the number of the decoder layer",
    "phase": '"prefill" or "decode"',
    "stage": "the stage's address",
    "reordered": "1 at `sample` where a program has moved the rows of its batch, as beams do, else 0",
    "ms": "how long the stage took, in milliseconds",
}
"""Quantities that are known without looking at a tensor."""

APART = "apart"
OF_REFERENCE = {
    APART: "how far the stage's output is from the reference's, relative to its norm (see `reference`)",
}
"""Quantities of this run and the one that stands beside it."""

OF_TOKEN = {
    "rank": "a token's rank among the next tokens, 1 for the likeliest",
    "prob": "its probability",
}
"""Functions of a token's text, as in `rank(" Paris")`."""

NAMES = {**OF_OUTPUT, **OF_PREDICTION, **OF_PLACE, **OF_REFERENCE}
"""Every name that stands alone, with its meaning."""

TEXTS = frozenset({"top1", "phase", "stage"})
"""The names whose value is a text. The values of all others are numbers."""


LOCAL = re.compile(r"[^\W\d]\w*(?:\.\w+)*")
"""A local variable of the model's code, or a part of one: `attn_weights`, `position_embeddings.0`."""


@lru_cache(maxsize=1024)
def of_local(quantity: str, local: str) -> str:
    """The name under which a quantity of `OF_OUTPUT` of a local tensor is measured: `absmax("attn_weights")`."""
    return f'{quantity}("{local}")'


def local_of(name: str) -> tuple[str, str] | None:
    """The quantity and the local in a name that `of_local` made; None for any other name."""
    quantity, between, rest = name.partition('("')
    return (quantity, rest.removesuffix('")')) if between and quantity in OF_OUTPUT else None


@lru_cache(maxsize=1024)
def of_token(function: str, text: str) -> str:
    """The name under which `rank` or `prob` of a token is measured and looked up: `rank(" Paris")`."""
    return f"{function}({json.dumps(text, ensure_ascii=False)})"


def is_of_prediction(name: str) -> bool:
    """Whether a name is about the next token, `rank("…")` and `prob("…")` included."""
    return name in OF_PREDICTION or name.partition("(")[0] in OF_TOKEN
