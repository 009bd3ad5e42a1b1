"""From text to the ids a model is fed, and from ids to what each one stands for.

Facts this relies on:
- A SentencePiece vocabulary writes a leading space as `▁` and a raw byte as `<0x0A>`; a byte-level BPE vocabulary
  writes every byte as a printable character (`Ġ` is a space). Decoding a single id hides both, so texts are made from
  the vocabulary's pieces.
- A tokenizer that transformers rebuilt from a bare file may split text differently from the file's own library. What is
  shown is always what the model is fed; a note says where the two disagree.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import PromptError
from llmdbg.formatting import byte_count
from llmdbg.models.bounded import BoundExceededError, WorkFailedError, run_bounded
from llmdbg.models.tokenizer_calls import TokenizerFailedError, ask_tokenizer, decoded, failed_to_decode, token_ids

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedTokenizerBase

MOST_TEXT_BYTES = 8 * 2**20
"""How long a prompt may be, before and after the chat template: far beyond any model's context."""

_LONGEST_PIECE = 10_000  # characters; the longest of real vocabularies have a few hundred
_PREFIX_PER_POSITION = 8  # characters
_TEMPLATE_SECONDS, _TEMPLATE_MEMORY = 5, 2**30
_SENTENCEPIECE_SPACE = "▁"
_BYTE_PIECE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


@dataclass(frozen=True, slots=True)
class Token:
    """One token of a vocabulary."""

    id: int
    """Its number in the vocabulary."""
    piece: str
    """How the vocabulary spells it: `Ġis`, `▁is`, `<0x0A>`."""
    text: str
    """The text it stands for, its leading space included."""
    special: bool
    """Whether it is a special token, which stands for no text."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the model is fed."""

    ids: tuple[int, ...]
    """The token ids, padding included."""
    text: str
    """The text they were made from, after the chat template."""
    notes: tuple[str, ...] = ()
    """Sentences the user should read about how the text was tokenized."""
    padding: int = 0
    """How many of the first ids are pad tokens that the attention mask hides, as in a batch with a longer prompt."""


class TokenizerVocabulary:
    """What each id of a model stands for. Without a tokenizer, ids stand for the bytes of the text."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase | None, size: int | None = None) -> None:
        """`size` is how many ids the model has embeddings for, or None; a tokenizer may know fewer."""
        self.size = size
        self._tokenizer = tokenizer
        self._special = frozenset(tokenizer.all_special_ids) if tokenizer is not None else frozenset()
        self._token = lru_cache(maxsize=65536)(self._describe)
        self._ids: dict[str, int] | None = None
        self.failure: str | None = None
        """That the tokenizer has failed to decode ids, and why, in a sentence; None if it has not."""

    def token(self, id: int) -> Token:
        """The token with an id. An id beyond the vocabulary (a padding row of the head) is spelled `<id 32001>`."""
        return self._token(id)

    def text(self, id: int) -> str:
        """The text that an id stands for, its leading space included."""
        return self._token(id).text

    def id_of(self, text: str) -> int | None:
        """The id of the token that stands for exactly `text`, its leading space included; None if none does."""
        if not _is_utf8(text):
            return None
        ids = self.split(text)
        if len(ids) == 1 and self.text(ids[0]) == text:
            return ids[0]
        # Encoding adds a leading space in some vocabularies and splits at spaces in others: search every token.
        if self._ids is None:
            size = 128 if self._tokenizer is None else len(self._tokenizer)
            self._ids = {self.text(id): id for id in reversed(range(size))}
        return self._ids.get(text)

    def split(self, text: str) -> list[int]:
        """The ids that the tokenizer splits a text into, without special tokens around it.

        What is not UTF-8 in it, such as the bytes of a terminal in another encoding, is read as question marks.
        """
        text = text.encode("utf-8", "replace").decode()
        if self._tokenizer is None:
            return list(text.encode())
        return list(token_ids(self._tokenizer, text, add_special_tokens=False))

    def decode(self, ids: Sequence[int]) -> str:
        """The text of a row of ids, without special tokens.

        Where the tokenizer fails, it is put together from the texts of single tokens, and `failure` says so.
        """
        if self._tokenizer is None:
            return bytes(id for id in ids if id < 256).decode("utf-8", errors="replace")
        try:
            return decoded(self._tokenizer, ids, skip_special_tokens=True)
        except TokenizerFailedError as error:
            self.failure = failed_to_decode(self._tokenizer, error)
            return "".join(self.text(id) for id in ids if id not in self._special)[:MOST_TEXT_BYTES]

    def _describe(self, id: int) -> Token:
        if self._tokenizer is None:
            text = chr(id) if id < 128 else f"<0x{id:02X}>" if id < 256 else f"<id {id}>"
            return Token(id, text, text, special=False)
        piece = self._piece(id)
        if piece is None:
            return Token(id, f"<id {id}>", f"<id {id}>", special=False)
        special = id in self._special
        return Token(id, piece, piece if special else self._text_of(piece), special)

    def _piece(self, id: int) -> str | None:
        assert self._tokenizer is not None
        tokenizer = self._tokenizer
        try:
            piece = ask_tokenizer(lambda: tokenizer.convert_ids_to_tokens(id))
        except TokenizerFailedError:
            return None
        if isinstance(piece, (str, bytes)) and len(piece) > _LONGEST_PIECE:
            return f"<id {id}: {len(piece):,} characters>"
        if isinstance(piece, bytes):
            return piece.decode("utf-8", errors="backslashreplace")
        return piece if isinstance(piece, str) else None

    def _text_of(self, piece: str) -> str:
        assert self._tokenizer is not None
        if byte := _BYTE_PIECE.fullmatch(piece):
            value = int(byte[1], 16)
            return chr(value) if value < 128 else piece
        if _SENTENCEPIECE_SPACE in piece:
            return piece.replace(_SENTENCEPIECE_SPACE, " ")
        tokenizer = self._tokenizer
        try:
            text = ask_tokenizer(lambda: str(tokenizer.convert_tokens_to_string([piece])))
        except TokenizerFailedError:
            return piece
        if "\ufffd" in text:
            return _byte_level_escapes(piece) or piece
        return text or piece


def check_text(text: str, *, called: str = "the prompt", remedy: str = "give some text") -> None:
    """Raise PromptError, saying how to do better, for a text that is empty, or that `check_utf8` refuses."""
    if not text.strip():
        raise PromptError(f"{called} is empty: {remedy}")
    check_utf8(text, called=called)


def check_utf8(text: str, *, called: str) -> None:
    """Raise PromptError for a text that UTF-8 cannot write, such as bytes of another encoding kept as surrogates.

    And for one that is longer than any model reads, before it costs time and memory.
    """
    try:
        size = len(text) if len(text) > MOST_TEXT_BYTES else len(text.encode())
    except UnicodeEncodeError as error:
        raise PromptError(f"{called} is not UTF-8 (at character {error.start}): convert it first") from error
    if size > MOST_TEXT_BYTES:
        raise PromptError(f"{called} is longer than {byte_count(MOST_TEXT_BYTES)}: shorten it")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encode_prompt(
    tokenizer: PreTrainedTokenizerBase | None,
    text: str,
    *,
    chat: bool = False,
    system: str | None = None,
    vocabulary_size: int = 256,
    context_length: int | None = None,
    left_pad: int = 0,
) -> Prompt:
    """Turn a prompt into ids, with `left_pad` pad tokens in front; `chat` puts it through the model's chat template.

    Without a tokenizer (random weights from a bare configuration), the ids are the text's UTF-8 bytes modulo
    `vocabulary_size`. Raises PromptError for a text that `check_text` refuses, for one whose beginning alone is longer
    than `context_length` tokens (None: any length), and for `chat` with a tokenizer that has no template or whose
    template refuses the messages.
    """
    check_text(text)
    if system is not None:
        check_utf8(system, called="the system message")
    if tokenizer is None:
        if chat:
            raise PromptError("--chat needs a tokenizer with a chat template, and this model has no tokenizer")
        ids = tuple(byte % vocabulary_size for byte in text.encode())
        return Prompt(
            (0,) * left_pad + ids, text, ("this model has no tokenizer: it is fed the prompt's bytes as ids",), left_pad
        )
    if chat:
        text = _chat_text(tokenizer, text, system)
    if context_length is not None:
        _require_beginning_fits(tokenizer, text, context_length)
    ids = token_ids(tokenizer, text, add_special_tokens=not chat)
    if not ids:
        raise PromptError("the tokenizer splits this prompt into no tokens at all: give some more text")
    padding = (_pad_id(tokenizer),) * left_pad if left_pad else ()
    notes = (*_doubled_start(tokenizer, ids, chat=chat), *_disagreements(tokenizer, text, ids))
    return Prompt(padding + ids, text, notes, left_pad)


def _require_beginning_fits(tokenizer: PreTrainedTokenizerBase, text: str, context_length: int) -> None:
    """Raise PromptError if the beginning of a long text alone is far more tokens than the context holds.

    Megabytes take gigabytes of memory to cut into tokens. What follows a beginning changes at most the tokens at its
    end, hence the quarter more.
    """
    beginning = text[: _PREFIX_PER_POSITION * context_length]
    if len(beginning) == len(text):
        return
    tokens = len(token_ids(tokenizer, beginning, add_special_tokens=False))
    if tokens > context_length * 5 // 4:
        raise PromptError(
            f"the first {len(beginning):,} of the prompt's {len(text):,} characters alone are {tokens:,} tokens, and "
            f"this model's context holds {context_length:,}: shorten it"
        )


def _pad_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """What a batch is padded with: the pad token, or what is used in its place if there is none."""
    for id in (tokenizer.pad_token_id, tokenizer.eos_token_id):
        if isinstance(id, int):
            return id
    return 0


def _chat_text(tokenizer: PreTrainedTokenizerBase, text: str, system: str | None) -> str:
    if not getattr(tokenizer, "chat_template", None):
        raise PromptError("this model's tokenizer has no chat template: leave --chat and --system out")
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages.append({"role": "user", "content": text})
    try:
        # A template is the model author's program: it can raise anything, and cost anything.
        return run_bounded(
            lambda: str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)),
            seconds=_TEMPLATE_SECONDS,
            memory=_TEMPLATE_MEMORY,
            most=MOST_TEXT_BYTES,
        )
    except WorkFailedError as error:
        reason = " ".join(str(error).split())
        raise PromptError(f"the model's chat template refused these messages: {reason}") from error
    except BoundExceededError as error:
        raise PromptError(f"the model's chat template {error}: leave --chat and --system out") from error


def _doubled_start(tokenizer: PreTrainedTokenizerBase, ids: tuple[int, ...], *, chat: bool) -> list[str]:
    """A note if what the tokenizer puts in front of a text, usually BOS, is there twice."""
    plain, whole = (token_ids(tokenizer, "a", add_special_tokens=each) for each in (False, True))
    places = range(len(whole) - len(plain) + 1)
    front = whole[: next((at for at in places if whole[at : at + len(plain)] == plain), 0)]
    if chat and not front and tokenizer.bos_token_id is not None:
        front = (int(tokenizer.bos_token_id),)
    if not front or ids[: 2 * len(front)] != front * 2:
        return []
    name = "".join(str(tokenizer.convert_ids_to_tokens(id)) for id in front)
    why = (
        "the chat template and the messages write it twice, where models are trained with one"
        if chat
        else "the text begins with it, and the tokenizer adds it as well: leave it out of the text"
    )
    return [f"{name} is in front twice: {why}"]


def _disagreements(tokenizer: PreTrainedTokenizerBase, text: str, ids: tuple[int, ...]) -> list[str]:
    """Notes about where the ids do not match the text or the tokenizer's own files."""
    notes = []
    try:
        back, without_special = (decoded(tokenizer, ids, skip_special_tokens=each) for each in (False, True))
    except TokenizerFailedError as error:
        return [failed_to_decode(tokenizer, error)]
    if text not in (back, without_special, back.removeprefix(tokenizer.bos_token or "")):
        notes.append(f"round trip: these ids decode to {_excerpt(without_special)}, the prompt is {_excerpt(text)}")
    if (own := _sentencepiece_ids(tokenizer, text)) is not None:
        if tokenizer.bos_token_id is not None and tokenizer.bos_token_id not in ids:
            notes.append(
                f"no {tokenizer.bos_token} in front: this tokenizer's settings do not add one (add_bos_token), though "
                "its vocabulary has it"
            )
        fed = [id for id in ids if id not in set(tokenizer.all_special_ids)]
        own = [id for id in own if id not in set(tokenizer.all_special_ids)]
        if fed != own:
            at = next((i for i, (a, b) in enumerate(zip(fed, own, strict=False)) if a != b), min(len(fed), len(own)))
            notes.append(
                "round trip: the tokenizer's own tokenizer.model (SentencePiece) splits this prompt differently, from "
                f"{_piece_at(tokenizer, own, at)}, where transformers feeds {_piece_at(tokenizer, fed, at)}"
            )
    return notes


def _sentencepiece_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int] | None:
    """The ids that the tokenizer's own SentencePiece file splits `text` into; None without such a file."""
    folder = Path(str(getattr(tokenizer, "name_or_path", "") or "."))
    path = folder / "tokenizer.model" if folder.is_dir() else folder
    if path.name != "tokenizer.model" or not path.is_file():
        return None
    import sentencepiece

    try:
        processor: Any = sentencepiece.SentencePieceProcessor(model_file=str(path))
    except (RuntimeError, OSError):
        return None  # some other kind of file under that name, such as tiktoken's
    specials = sorted((str(token) for token in tokenizer.all_special_tokens), key=len, reverse=True)
    if any(special in text for special in specials):
        return None  # SentencePiece would split a special token into pieces
    return [int(id) for id in processor.encode(text)]


def _piece_at(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], at: int) -> str:
    if at >= len(ids):
        return "nothing"
    return f"{ids[at]} {tokenizer.convert_ids_to_tokens(ids[at])!r}"


def _excerpt(text: str, length: int = 40) -> str:
    return repr(text if len(text) <= length else text[: length - 1] + "…")


@lru_cache(maxsize=1)
def _byte_of_character() -> dict[str, int]:
    """The byte each character of a byte-level BPE vocabulary stands for (GPT-2's `bytes_to_unicode`, inverted)."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}


def _byte_level_escapes(piece: str) -> str | None:
    """A piece that is not complete UTF-8, spelled as its bytes: `<0xF0><0x9F>`; None if it is not byte-level."""
    table = _byte_of_character()
    if not all(character in table for character in piece):
        return None
    raw = bytes(table[character] for character in piece)
    return "".join(f"<0x{byte:02X}>" if byte >= 128 else chr(byte) for byte in raw)
