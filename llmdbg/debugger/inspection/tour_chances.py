"""The pictures of the tour's other stops: the prompt's tokens, the scores and the choice, the cache, the weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

from llmdbg.debugger.inspection.memory import cache_size
from llmdbg.debugger.inspection.tour_numbers import MOST_PIECES, weight_kinds
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.explain.tour_facts import (
    CachePicture,
    Chance,
    ChoicePicture,
    EndingPicture,
    Piece,
    PiecesPicture,
    ScoresPicture,
    SettingsPicture,
    SpellingPicture,
    TrafficPicture,
    WeightsPicture,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.debugger.inspection.inspector import Inspector

_SUPPOSED_TEMPERATURE = 0.5
_MOST_CHANCES, _LEADERS, _TOKENS_BEFORE, _MOST_ENDS = 8, 6, 12, 3
_WORDS = ("LLM", "tokenization", "Hugging")
"""Words that few vocabularies have as one token, for a prompt whose own words are all whole."""


def pieces(inspector: Inspector, *, only_special: bool = False) -> PiecesPicture:
    """The prompt's tokens, without padding."""
    rows = inspector.run.tokens()[inspector.prompt.padding : len(inspector.prompt.ids)]
    kept = rows[-MOST_PIECES:]
    return PiecesPicture(tuple(map(_piece, kept)), len(rows) - len(kept), only_special)


def _piece(row: TokenRow) -> Piece:
    return Piece(row.index, row.id, row.piece if row.special else row.text, row.special)


def spelling(inspector: Inspector, split: tuple[tuple[str, tuple[str, ...]], ...]) -> SpellingPicture | str:
    """How the prompt's split words are spelled, or a few words that are split by themselves."""
    words = [word for word, _ in split]
    words += [each for each in _WORDS if each not in words]
    found = []
    for word in words[:_LEADERS]:
        ids = inspector.vocabulary.split(f" {word}")
        texts = tuple((id, inspector.vocabulary.text(id)) for id in ids)
        if len([text for _, text in texts if text.strip()]) > 1:
            found.append((word, texts))
    return SpellingPicture(tuple(found)) if found else "every word is one token"


def traffic(inspector: Inspector) -> TrafficPicture:
    """What has to be moved to where the computing is done, and what for each token."""
    model = inspector.model
    size = sum(each.nbytes for each in model.parameters())
    vocabulary = int(model.get_input_embeddings().weight.shape[0])
    ids = len(inspector.prompt.ids) * torch.int64.itemsize
    return TrafficPicture(size, ids, torch.int64.itemsize, vocabulary * torch.float32.itemsize)


def weights(inspector: Inspector) -> WeightsPicture:
    """The files of the weights, and what the weights are for."""
    loading = inspector.loaded.loading
    files = () if loading is None else loading.files
    return WeightsPicture(files, weight_kinds(inspector), None if loading is None else loading.seconds)


@torch.no_grad()
def scores(inspector: Inspector) -> ScoresPicture | str:
    """The likeliest tokens at the raw scores."""
    raw = inspector.event.trail[0][1][0]
    probs = torch.softmax(raw.float(), dim=-1)
    if not bool(torch.isfinite(probs).all()):
        return "the scores give no probabilities: some are NaN or infinite"
    best = probs.topk(min(_MOST_CHANCES, len(probs)))
    rows = _chances(inspector, best.indices, raw, probs, probs)
    return ScoresPicture(rows, _rest(rows, "before"), int((raw != -torch.inf).sum()))


@torch.no_grad()
def settings(inspector: Inspector) -> SettingsPicture | str:
    """The distribution before and after this run's settings; without any, after a temperature that is supposed."""
    trail, sampling = inspector.event.trail, inspector.debuggee.sampling
    raw = trail[0][1][0].float()
    supposed = len(trail) == 1
    changed = raw / _SUPPOSED_TEMPERATURE if supposed else trail[-1][1][0].float()
    before, after = torch.softmax(raw, dim=-1), torch.softmax(changed, dim=-1)
    if not bool(torch.isfinite(before).all() and torch.isfinite(after).all()):
        return "the scores give no probabilities: some are NaN or infinite"
    leaders = before.topk(min(_LEADERS, len(before))).indices.tolist()
    leaders += [id for id in after.topk(min(3, len(after))).indices.tolist() if id not in leaders]
    rows = _chances(inspector, torch.tensor(leaders, device=raw.device), raw, before, after)
    done = f"temperature {_SUPPOSED_TEMPERATURE}" if supposed or sampling is None else sampling.description
    others = _rest(rows, "before"), _rest(rows, "after")
    return SettingsPicture(rows, others, int((changed != -torch.inf).sum()), done, supposed)


def _chances(
    inspector: Inspector, ids: Tensor, raw: Tensor, before: Tensor, after: Tensor, chosen: int | None = None
) -> tuple[Chance, ...]:
    # Ids are exact in float64, so that one copy brings everything.
    columns = torch.stack([ids.double(), *(each[ids].double() for each in (before, after, raw))]).cpu().tolist()
    return tuple(
        Chance(inspector.vocabulary.text(int(id)), first, last, score, int(id) == chosen)
        for id, first, last, score in zip(*columns, strict=True)
    )


def _rest(rows: tuple[Chance, ...], which: str) -> float:
    return max(0.0, 1.0 - sum(row.after if which == "after" else row.before for row in rows))


@torch.no_grad()
def choice(inspector: Inspector) -> ChoicePicture | str:
    """The distribution that the token was chosen from, and the text it is appended to."""
    stop, event, sampling = inspector.stop, inspector.event, inspector.debuggee.sampling
    if stop.chosen is None or not event.trail:
        return "no token has been chosen here"
    overrides = inspector.debuggee.timeline.overrides.get(event.token, TokenOverrides())
    raw, last = event.trail[0][1][0].float(), overrides.allowed(event.trail[-1][1])[0].float()
    before, after = torch.softmax(raw, dim=-1), torch.softmax(last, dim=-1)
    if not bool(torch.isfinite(after).all()):
        return "the scores give no probabilities: some are NaN or infinite"
    leaders = after.topk(min(_LEADERS, len(after))).indices.tolist()
    leaders += [stop.chosen.id] if stop.chosen.id not in leaders else []
    ids = torch.tensor(leaders, device=raw.device)
    rows = _chances(inspector, ids, raw, before, after, stop.chosen.id)
    tokens = inspector.run.tokens()[: len(inspector.prompt.ids) + stop.token][-_TOKENS_BEFORE:]
    texts = tuple(row.piece if row.special else row.text for row in tokens)
    greedy = sampling is None or not sampling.samples
    banned = tuple(inspector.vocabulary.text(id) for id in sorted(overrides.ban))
    forced = overrides.force is not None
    return ChoicePicture(rows, _rest(rows, "after"), texts, stop.chosen.text, greedy, forced, banned)


@torch.no_grad()
def ending(inspector: Inspector) -> EndingPicture:
    """What can end this generation: tokens, and limits."""
    sampling, trail = inspector.debuggee.sampling, inspector.event.trail
    ids = _ends_with(inspector)[:_MOST_ENDS]
    ends: list[tuple[str, float]] = []
    if ids and trail:
        probs = torch.softmax(trail[-1][1][0].float(), dim=-1)
        known = [id for id in ids if id < len(probs)]
        ends = [(inspector.vocabulary.text(id), float(probs[id])) for id in known]
    generated, prompt = inspector.stop.token + 1, len(inspector.prompt.ids)
    limit = None if sampling is None else sampling.limit
    return EndingPicture(tuple(ends), (generated, limit), (prompt + generated, inspector.anatomy.context_length))


def _ends_with(inspector: Inspector) -> list[int]:
    if inspector.debuggee.loaded is None:
        return []
    found: Any = getattr(inspector.model.generation_config, "eos_token_id", None)
    several = found if isinstance(found, (list, tuple)) else [found]
    return [each for each in several if isinstance(each, int)]


def cached(inspector: Inspector) -> CachePicture:
    """How many positions are kept, and how many go through the model now."""
    first, fed = inspector.forward_positions()
    size = cache_size(inspector) if inspector.debuggee.loaded is not None else None
    held, growth = (None, None) if size is None else size
    kept = first if inspector.debuggee.cache is not None else 0
    # A sliding window that is full grows no more.
    return CachePicture(kept, fed, len(inspector.anatomy.layers()), held, growth or None)


def special_names(inspector: Inspector) -> Iterator[str]:
    """The special tokens of the prompt, each once."""
    rows = inspector.run.tokens()[inspector.prompt.padding : len(inspector.prompt.ids)]
    yield from dict.fromkeys(row.piece for row in rows if row.special)
