"""Inputs that are nearly right: what is valid, with a few pieces changed."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hypothesis import strategies as st

PIECES = (
    *("0", "1", "-1", "7", "99999999999999999999", "1e309", "nan", "-inf", "0x10", "1_000", "٣", "²"),
    *("@", "@0", "@99999999999", "@prefill", "..", "*", "*.mlp", "0-2", "2-0", "[", "]", "[0]", "[:, ::-1]", "[0,,1]"),
    *("(", ")", "((((((((", "))", "'", '"', "`", "\\", "#", ";", "|", ">", "<", "=", "==", "!=", "**", "//", "%", "~"),
    *(" if ", " and ", " or ", " not ", " at ", " from ", " to ", " by ", " last", " head ", " row ", " in ", " is "),
    *("norm", "max", "top1", "token", "entropy", "prob", "nan", "inf", "stage", "layer", "changed(norm)", "prob('a')"),
    *("embed", "logits", "sample", "tokenize", "0.mlp", "1.self_attn.q_proj", "sample.top_p", "main", "flip", "jump"),
    *(
        "\x00",
        "\x1b[31m",
        "\u202e",
        "\u009b",
        "\ud800",
        "\ufeff",
        "\t",
        "\r",
        "é" * 40,
        "𝔘",
        "a" * 150,
        "-" * 300,
        "{}",
        "[]",
    ),
)

ODD_TEXT = st.one_of(st.sampled_from(PIECES), st.text(max_size=12), st.text(st.characters(), max_size=4))


@st.composite
def nearly(draw: st.DrawFn, valid: Sequence[str]) -> str:
    """One of `valid`, with up to four pieces cut out, put in, or said twice."""
    text = draw(st.sampled_from(valid))
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 8)))
        middle = draw(st.sampled_from(("", text[start:end] * 2, None)))
        text = text[:start] + (draw(ODD_TEXT) if middle is None else middle) + text[end:]
    return text


ODD_JSON = st.one_of(
    st.sampled_from(
        (None, True, False, 0, -1, 1, 2**31, 2**63, 10**8, 10**30, 1.5, -0.0, 1e308, "", "1", [], {}, [[]], [0] * 50)
    ),
    ODD_TEXT,
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ODD_TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ODD_TEXT, inner, max_size=3),
        max_leaves=6,
    ),
)


@st.composite
def nearly_json(draw: st.DrawFn, valid: Any) -> str:
    """A document with up to three of its values replaced, left out or renamed; now and then not even JSON."""
    document = copy.deepcopy(valid)
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(document))
        if not places:
            break
        holder, key = draw(st.sampled_from(places))
        how = draw(st.sampled_from(("replace", "replace", "replace", "remove", "add")))
        if how == "replace" or isinstance(holder, list):
            holder[key] = copy.deepcopy(draw(ODD_JSON))
        elif how == "remove":
            del holder[key]
        else:
            holder[draw(ODD_TEXT)] = copy.deepcopy(draw(ODD_JSON))
    text = json.dumps(document, ensure_ascii=draw(st.booleans()))
    damage = draw(st.sampled_from(("",) * 12 + ("cut", "nan", "deep", "twice")))
    return {
        "": text,
        "cut": text[: draw(st.integers(0, len(text)))],
        "nan": text.replace("1", "NaN", 1).replace("0", "Infinity", 1),
        "deep": text[:-1] + ', "deep": ' + "[" * 100_000 + "]" * 100_000 + "}",
        "twice": text + text,
    }[damage]


@st.composite
def nearly_bytes(draw: st.DrawFn, valid: bytes, reach: int) -> bytes:
    """A file with a few bytes changed, put in or cut off, mostly among its first `reach`."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, min(len(data), reach)))
        how = draw(st.sampled_from(("change", "change", "insert", "cut", "number")))
        if how == "change":
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
        elif how == "insert":
            data[at:at] = draw(st.binary(max_size=9))
        elif how == "cut":
            del data[draw(st.integers(0, len(data))) :]
        else:
            size = draw(st.sampled_from((4, 8)))
            number = draw(st.sampled_from((0, 1, 2**31, 2 ** (8 * size) - 1, 2 ** (8 * size - 1), 10**8)))
            data[at : at + size] = number.to_bytes(size, "little")
    return bytes(data)


def _places(value: Any) -> Any:
    if isinstance(value, dict):
        for key, inner in list(value.items()):
            yield value, key
            yield from _places(inner)
    elif isinstance(value, list):
        for index, inner in enumerate(value[:40]):
            yield value, index
            yield from _places(inner)


def gguf_file(path: Path) -> Path:
    """Write a small GGUF file with two tensors and a vocabulary."""
    import numpy as np
    from gguf import GGUFWriter

    writer = GGUFWriter(path, "llama")
    for name in ("context_length", "embedding_length", "block_count", "feed_forward_length", "head_count"):
        getattr(writer, f"add_{name}")(16)
    writer.add_token_list([f"word{number}" for number in range(20)])
    writer.add_tensor("token_embd.weight", np.ones((20, 16), dtype=np.float32))
    writer.add_tensor("output_norm.weight", np.ones(16, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def safetensors_file(path: Path) -> Path:
    """Write a small safetensors file with two tensors and metadata."""
    import torch
    from safetensors.torch import save_file

    numbers = {"a.weight": torch.ones(3, 4), "b.bias": torch.zeros(5, dtype=torch.bfloat16)}
    save_file(numbers, path, metadata={"format": "pt"})
    return path
