"""Comparing what two runs are fed, before any tensor is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Protocol

from llmdbg.debugger.comparison.outcome import Finding, FindingKind
from llmdbg.formatting import counted, listed, quote

if TYPE_CHECKING:
    from llmdbg.models.tokens import Prompt, Token

_MOST_QUOTED = 6


class Spelling(Protocol):
    """What ids stand for."""

    def token(self, id: int) -> Token:
        """The token of an id."""


def compare_prompts(
    reference: Prompt, candidate: Prompt, ours: Spelling, *, theirs: Spelling | None = None
) -> list[Finding]:
    """What differs in the input, the telling differences first: special tokens, then the text, then the ids.

    `ours` names the candidate's ids, `theirs` the reference's (the same vocabulary if None). Padding is no difference.
    """
    theirs = theirs or ours
    one, other = reference.ids[reference.padding :], candidate.ids[candidate.padding :]
    if one == other:
        return []
    sentences = list(_doubled_start(one, other, ours))
    matcher = SequenceMatcher(None, one, other, autojunk=False)
    edits = [each for each in matcher.get_opcodes() if each[0] != "equal"]
    for tag, at, until, here, to in edits[:2]:
        sentences.append(_edit(tag, at, one[at:until], other[here:to], theirs, ours, len(one)))
    if len(edits) > 2:
        sentences.append(f"and {counted(len(edits) - 2, 'more difference')}")
    if reference.text != candidate.text:
        sentences.append(_texts(reference.text, candidate.text))
    else:
        sentences.append("the text is the same before tokenization, so the tokenizers or their settings differ")
    return [Finding(FindingKind.INPUT, "tokenize", "; ".join(dict.fromkeys(sentences)))]


def _doubled_start(one: Sequence[int], other: Sequence[int], vocabulary: Spelling) -> list[str]:
    doubled = len(other) > 1 and other[0] == other[1] and vocabulary.token(other[0]).special
    if doubled and one[:2] != other[:2]:
        return [f"the prompt begins with {_named(other[:1], vocabulary)} twice (a double BOS)"]
    return []


def _edit(
    tag: str,
    at: int,
    missing: Sequence[int],
    extra: Sequence[int],
    theirs: Spelling,
    ours: Spelling,
    length: int,
) -> str:
    # What differs from the first position to the last is at neither end.
    if at == 0 and 0 < length == len(missing) and tag == "replace":
        return f"the candidate has {_named(extra, ours)} instead of {_named(missing, theirs)}"
    where = (
        "at the end"
        if at >= length or at + len(missing) == length
        else "at the start"
        if at == 0
        else f"at position {at}"
    )
    if tag == "insert":
        return f"{where} the candidate has an additional {_named(extra, ours)}"
    if tag == "delete":
        hint = " (a missing generation prompt?)" if where == "at the end" and _any_special(missing, theirs) else ""
        return f"{where} the candidate lacks {_named(missing, theirs)}{hint}"
    return f"{where} the candidate has {_named(extra, ours)} instead of {_named(missing, theirs)}"


def _any_special(ids: Sequence[int], vocabulary: Spelling) -> bool:
    return any(vocabulary.token(each).special for each in ids)


def _named(ids: Sequence[int], vocabulary: Spelling) -> str:
    names = [f"{quote(vocabulary.token(each).text or vocabulary.token(each).piece)} ({each})" for each in ids]
    if len(names) > _MOST_QUOTED:
        names = [*names[: _MOST_QUOTED - 1], f"{len(names) - _MOST_QUOTED + 1} more tokens"]
    return listed(names)


def _texts(one: str, other: str) -> str:
    at = next(
        (index for index, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other))
    )
    ours, theirs = quote(other[at : at + 24]), quote(one[at : at + 24])
    return f"the texts differ from character {at} on: {ours} instead of {theirs}"
