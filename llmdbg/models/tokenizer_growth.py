"""By how much a tokenizer's steps multiply text: bounded when it is loaded, and again for each text.

A normalizer, a decoder and a post-processor are small programs of a stranger's: replacing "a" by a thousand letters
four times in a row makes a terabyte of one letter, in a library that ends the process when there is no more memory. So
the steps are read first. Real ones are far below these bounds:

- Unicode makes 33 bytes of 3 (NFKC of U+FDFA), a space becomes the 3 bytes of U+2581, a byte becomes a character of 2.
- A normalizer's steps multiply to 4,400 at worst (NFKD, lower case, a table of characters), to 12 in most models.
- Decoders shorten text, and post-processors add a handful of tokens.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from llmdbg.errors import DamagedFileError
from llmdbg.formatting import byte_count

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_MOST_OF_NORMALIZER, _MOST_OF_DECODER = 10_000, 20
_MOST_ADDED_TOKENS, _MOST_COPIES = 1_000, 4
_MOST_BYTES = 8 * 2**20
"""How long a text may be when it is normalized."""
_MOST_AT_ONCE = 64 * 2**20
"""How long one step of a normalizer may make it at worst."""

_OF_UNICODE = 11
_GROWTH = {"NFC": 3, "NFD": 4, "NFKC": _OF_UNICODE, "NFKD": _OF_UNICODE, "Lowercase": 2, "ByteLevel": 2}
_GROWTH |= {"BertNormalizer": 12, "Metaspace": 3, "ByteFallback": 3, "CTC": 3, "WordPiece": 2, "BPEDecoder": 2}


class TextTooLongError(Exception):
    """A text would be longer than any model reads. The message says why, as words to follow "it"."""


def check_growth(tokenizer: PreTrainedTokenizerBase, name: str) -> None:
    """Raise DamagedFileError if the tokenizer of the model `name` multiplies text or adds tokens like no real one."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    for what, most in (("normalizer", _MOST_OF_NORMALIZER), ("decoder", _MOST_OF_DECODER)):
        by = math.prod(map(_growth, _steps(_written(getattr(backend, what, None)))))
        if by > most:
            raise DamagedFileError(
                f"the {what} in the tokenizer of {name} can make {_amount(by)} times as much of a text, and no real "
                f"one makes more than {most:,} times: its files are damaged, or not to be trusted"
            )
    copies, added = _of_post_processor(_written(getattr(backend, "post_processor", None)))
    if copies > _MOST_COPIES or added > _MOST_ADDED_TOKENS:
        what = f"repeats a text {_amount(copies)} times" if copies > _MOST_COPIES else f"adds {_amount(added)} tokens"
        raise DamagedFileError(
            f"the post-processor in the tokenizer of {name} {what}: its files are damaged, or not to be trusted"
        )


def require_text_stays_short(tokenizer: PreTrainedTokenizerBase, text: str) -> None:
    """Raise TextTooLongError for a text that the tokenizer would make too long. Normalizes only what might become so.

    Each step is bounded before it is run, so that honest steps are not blamed for what all could do together.
    """
    normalizer = getattr(getattr(tokenizer, "backend_tokenizer", None), "normalizer", None)
    if normalizer is None:
        return
    steps = list(_steps(_written(normalizer)))
    size = len(text.encode())
    if size * math.prod(map(_growth, steps)) <= _MOST_BYTES:
        return
    parts = _parts(normalizer, len(steps))
    for part, written in zip(parts, steps, strict=True) if parts else ():
        if (worst := size * _growth(written)) > _MOST_AT_ONCE:
            raise TextTooLongError(f"can make {byte_count(math.ceil(worst))} of its {byte_count(size)}")
        text = part.normalize_str(text)
        size = len(text.encode("utf-8", "replace"))
        if size > _MOST_BYTES:
            raise TextTooLongError(f"makes {byte_count(size)} of it, and {byte_count(_MOST_BYTES)} are the most")
    if not parts:
        raise TextTooLongError(f"can make more than {byte_count(_MOST_BYTES)} of its {byte_count(size)}")


def decoded_size(tokenizer: PreTrainedTokenizerBase, characters: int) -> float:
    """How many bytes the tokenizer's decoder makes of tokens that are spelled with so many characters, at worst."""
    written = _written(getattr(getattr(tokenizer, "backend_tokenizer", None), "decoder", None))
    return 4 * characters * math.prod(map(_growth, _steps(written)))


def _written(part: Any) -> Mapping[str, Any]:
    """A part of a tokenizer as its file writes it; empty for none."""
    if part is None:
        return {}
    try:
        written = json.loads(part.__getstate__())
    except (TypeError, ValueError, AttributeError):
        return {}  # made by Python code, which is trusted or not run
    return written if isinstance(written, dict) else {}


def _steps(written: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    if not written:
        return
    inner = next((written[key] for key in ("normalizers", "decoders", "processors") if key in written), None)
    if inner is None:
        yield written
        return
    for each in inner:
        yield from _steps(each)


def _parts(normalizer: Any, count: int) -> list[Any]:
    """The steps of a normalizer, each to be run by itself; empty if they cannot be had."""
    if count == 1 and not hasattr(normalizer, "__getitem__"):
        return [normalizer]
    try:
        return [normalizer[at] for at in range(count)]
    except (TypeError, IndexError):
        return []


def _growth(written: Mapping[str, Any]) -> float:
    """By how much one step multiplies a text at worst, at least 1."""
    kind = written.get("type")
    if kind == "Replace":
        pattern, content = written.get("pattern"), _bytes(written.get("content"))
        plain = _bytes(pattern.get("String")) if isinstance(pattern, dict) else 0
        # A regular expression may match at every character, and nothing at that.
        return max(1.0, content / plain) if plain else 1.0 + content
    if kind == "Prepend":
        # A text is normalized between the special tokens in it.
        return 1.0 + _bytes(written.get("prepend"))
    if kind == "Precompiled":
        return max(1.0, float(_longest_of_table(written.get("precompiled_charsmap"))))
    return float(_GROWTH.get(str(kind), 1))


def _bytes(text: Any) -> int:
    return len(text.encode("utf-8", "replace")) if isinstance(text, str) else 0


def _longest_of_table(table: Any) -> int:
    """The longest text in a SentencePiece table, which is 4 bytes of size, a trie, and texts that end in 0."""
    try:
        raw = base64.b64decode(table)
    except (TypeError, ValueError, binascii.Error):
        return 1
    texts = raw[4 + int.from_bytes(raw[:4], "little") :]
    return max(map(len, texts.split(b"\0")), default=1)


def _of_post_processor(written: Mapping[str, Any]) -> tuple[int, int]:
    """How many copies of a text it makes, and how many tokens it adds."""
    copies, added = 1, 0
    for step in _steps(written):
        if step.get("type") in ("BertProcessing", "RobertaProcessing"):
            added += 2
        if step.get("type") != "TemplateProcessing":
            continue
        pieces, specials = step.get("single", ()), step.get("special_tokens", {})
        sequences = sum("Sequence" in piece for piece in pieces)
        named = [piece["SpecialToken"]["id"] for piece in pieces if "SpecialToken" in piece]
        copies, added = copies * sequences, added * sequences + sum(len(specials[name]["ids"]) for name in named)
    return copies, added


def _amount(number: float) -> str:
    return f"{number:,.0f}" if number < 1e9 else "more than 1,000,000,000"
