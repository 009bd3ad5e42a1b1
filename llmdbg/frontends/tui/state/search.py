"""Finding text in the sequence, and stages by their address.

- Queries match the running text, so a match may begin in one token and end in another. A character whose bytes are
  spread over several tokens is one character.
- Case matters only if the query has a capital. `#2418` finds the tokens with that id, if there are any.
- The running text is made once and extended as tokens come.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.models.stages import Stage

_ID = re.compile(r"#(\d{1,9})", re.ASCII)
_BYTE = re.compile(r"<0x([89A-F][0-9A-F])>")
_CONTINUATION = range(0x80, 0xC0)  # the bytes of a UTF-8 character after its first


@dataclass(frozen=True, slots=True)
class Matches:
    """What a query finds."""

    query: str = ""
    """The query; empty before the first."""
    hits: tuple[tuple[int, int], ...] = ()
    """First and last position of each match in the sequence, in order."""
    tokens: tuple[int, ...] = ()
    """Every position they cover."""
    stages: tuple[str, ...] = ()
    """Addresses of the matching stages, in the order of the stages."""
    _order: tuple[str, ...] = field(default=(), repr=False)

    def __bool__(self) -> bool:
        """Whether anything was found."""
        return bool(self.hits or self.stages)

    def next_token(self, position: int) -> int | None:
        """Where the first match after a position begins; None without matches."""
        after = bisect_right(self.hits, position, key=_start)
        return self.hits[after % len(self.hits)][0] if self.hits else None

    def next_stage(self, address: str) -> str | None:
        """The first matching stage after another; None without matches."""
        return _following(self.stages, self._order, address)


def _start(hit: tuple[int, int]) -> int:
    return hit[0]


def _following(found: Sequence[str], order: Sequence[str], address: str) -> str | None:
    wanted = set(found)
    behind = islice(order, order.index(address) + 1 if address in order else 0, None)
    return next((each for each in behind if each in wanted), found[0] if found else None)


class Index:
    """The running text of a sequence, and which token each of its characters belongs to.

    Token `i` has the characters from `_starts[i]` up to but not including `_ends[i]`. Neighbours overlap if a character
    consists of several tokens' bytes.
    """

    def __init__(self) -> None:
        self._forget()

    def matches(self, query: str, tokens: Sequence[TokenRow], stages: Sequence[Stage]) -> Matches:
        """Find `query` in the sequence and among the stages."""
        self._follow(tokens)
        if not query:
            return Matches()
        order = tuple(stage.address for stage in stages)
        any_case = query == query.lower()
        found = tuple(each for each in order if query in (each.lower() if any_case else each))
        hits = self._of_id(query) or list(self._in_text(query, any_case=any_case))
        covered = dict.fromkeys(at for first, last in hits for at in range(first, last + 1))
        position = self._position
        return Matches(
            query,
            tuple((position(first), position(last)) for first, last in hits),
            tuple(map(position, covered)),
            found,
            order,
        )

    def _position(self, at: int) -> int:
        return self._tokens[at].index

    def _forget(self) -> None:
        self._tokens: list[TokenRow] = []
        self._text = self._lower = ""
        self._starts: list[int] = []
        self._ends: list[int] = []

    def _follow(self, tokens: Sequence[TokenRow]) -> None:
        """Add the new tokens; start over if the sequence has changed."""
        known = len(self._tokens)
        if list(tokens[:known]) != self._tokens:
            self._forget()
        elif len(tokens) > known:
            self._drop_last_bytes()
        self._add(tokens[len(self._tokens) :])

    def _drop_last_bytes(self) -> None:
        """Drop the bytes at the end: the next token may continue their character."""
        length = len(self._text)
        while self._tokens and _is_bytes(self._tokens[-1]):
            del self._tokens[-1], self._ends[-1]
            length = self._starts.pop()
        self._text, self._lower = self._text[:length], self._lower[:length]

    def _add(self, tokens: Sequence[TokenRow]) -> None:
        pieces, at = [], len(self._text)
        spelled = 0
        for index, token in enumerate(tokens):
            if index < spelled:
                continue
            if _is_bytes(token):
                group = _bytes_from(tokens, index)
                text, spans = _spelled(group)
                spelled = index + len(group)
                self._starts += (at + start for start, _ in spans)
                self._ends += (at + end for _, end in spans)
            else:
                text = token.text
                self._starts.append(at)
                self._ends.append(at + len(text))
            pieces.append(text)
            at += len(text)
        added = "".join(pieces)
        self._tokens += tokens
        self._text += added
        self._lower += _lower(added)

    def _of_id(self, query: str) -> list[tuple[int, int]]:
        if not (asked := _ID.fullmatch(query)):
            return []
        id = int(asked[1])
        return [(at, at) for at, token in enumerate(self._tokens) if token.id == id]

    def _in_text(self, query: str, *, any_case: bool) -> Iterator[tuple[int, int]]:
        """The first and last token of each place where the query is in the text."""
        text, length = self._lower if any_case else self._text, len(query)
        first, at = 0, text.find(query)
        while at >= 0:
            first = bisect_right(self._ends, at, lo=first)
            yield first, bisect_left(self._starts, at + length, lo=first) - 1
            at = text.find(query, at + length)


def _is_bytes(token: TokenRow) -> bool:
    return "<0x" in token.text


def _bytes_from(tokens: Sequence[TokenRow], index: int) -> Sequence[TokenRow]:
    end = index
    while end < len(tokens) and _is_bytes(tokens[end]):
        end += 1
    return tokens[index:end]


def _spelled(tokens: Sequence[TokenRow]) -> tuple[str, list[tuple[int, int]]]:
    """The text of tokens that hold bytes, and the range of characters that each contributes to.

    Bytes that are not UTF-8 stay as they are displayed.
    """
    raw = [_raw(token.text) for token in tokens]
    try:
        text = b"".join(raw).decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        text, raw = (
            "".join(token.text for token in tokens),
            [token.text.encode("utf-8", "surrogatepass") for token in tokens],
        )
    spans, at = [], 0
    for each in raw:
        inside = sum(byte not in _CONTINUATION for byte in each)
        cut_off = bool(each) and each[0] in _CONTINUATION
        spans.append((at - cut_off, at + inside))
        at += inside
    return text, spans


def _raw(text: str) -> bytes:
    r"""The bytes a token stands for; `<0xE2>` is a single byte, unless it would be ASCII."""
    parts = _BYTE.split(text)
    return b"".join(
        bytes((int(part, 16),)) if odd % 2 else part.encode("utf-8", "surrogatepass") for odd, part in enumerate(parts)
    )


def _lower(text: str) -> str:
    """Lower case, character for character."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(_lower_character(each) for each in text)


def _lower_character(character: str) -> str:
    lower = character.lower()
    return lower if len(lower) == 1 else character
