"""Two token sequences side by side beyond where they part: what is inserted, left out or changed.

Only texts are aligned so. A value is computed from all tokens before it, and from its position: where those differ, it
is no error that values do, however well the texts match again.
"""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.outcome import AlignedSpan, SpanKind

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import SideFacts

_MOST = 2000
"""How many tokens are aligned from where two texts part: the time it takes may grow with their square."""
_KINDS = {
    "equal": SpanKind.SAME,
    "replace": SpanKind.CHANGED,
    "insert": SpanKind.INSERTED,
    "delete": SpanKind.DELETED,
}


def aligned(reference: SideFacts, candidate: SideFacts) -> tuple[AlignedSpan, ...]:
    """Prompt and generated tokens of two runs, side by side; empty if all of them are the same.

    Padding is left out, and positions are counted behind it. Ids are compared where both vocabularies agree on them,
    else the texts they stand for.
    """
    prompts = [
        list(zip(each.prompt, each.prompt_tokens, strict=False))[each.padding :] for each in (reference, candidate)
    ]
    texts = [list(zip(each.ids, each.tokens, strict=False)) for each in (reference, candidate)]
    by_id = _agree([*prompts[0], *texts[0]], [*prompts[1], *texts[1]])
    spans = [
        *_spans("prompt", prompts[0], prompts[1], by_id=by_id),
        *_spans("generated", texts[0], texts[1], by_id=by_id),
    ]
    return () if all(each.kind is SpanKind.SAME for each in spans) else tuple(spans)


def common_positions(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two sequences have in common before the first that differs."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, pair in pairs if pair[0] != pair[1]), min(len(one), len(other)))


_Token = tuple[int, str]


def _agree(one: Sequence[_Token], other: Sequence[_Token]) -> bool:
    """Whether every id that both use stands for the same text in both."""
    texts = dict(one)
    common = [(texts[id], text) for id, text in other if id in texts]
    return bool(common) and all(ours == theirs for theirs, ours in common)


def _spans(part: str, one: Sequence[_Token], other: Sequence[_Token], *, by_id: bool) -> list[AlignedSpan]:
    keys = [[_key(each, by_id=by_id) for each in side] for side in (one, other)]
    start = next((at for at, pair in enumerate(zip(*keys, strict=False)) if pair[0] != pair[1]), min(map(len, keys)))
    ends = [min(len(each), start + _MOST) for each in keys]
    matcher = SequenceMatcher(None, keys[0][start : ends[0]], keys[1][start : ends[1]], autojunk=False)
    codes = [("equal", 0, start, 0, start)] if start else []
    codes += [(tag, a + start, b + start, c + start, d + start) for tag, a, b, c, d in matcher.get_opcodes()]
    if ends != [len(each) for each in keys]:
        codes.append(("replace", ends[0], len(one), ends[1], len(other)))
    return [
        AlignedSpan(part, _KINDS[tag], (a, b), (c, d), _text(one[a:b]), _text(other[c:d])) for tag, a, b, c, d in codes
    ]


def _key(token: _Token, *, by_id: bool) -> int | str:
    """What makes two tokens the same. The text of a token that is part of a character says nothing."""
    id, text = token
    return id if by_id or not text or "\N{REPLACEMENT CHARACTER}" in text else text


def _text(tokens: Sequence[_Token]) -> str:
    return "".join(text or f"<{id}>" for id, text in tokens)
