"""Why the chosen token won: the processors' effect on the likeliest, the runner-up, the layers that predicted it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.explain.facts import ChoiceFacts, PredictedToken, ProcessorFacts

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.probes.lens_table import LensTable


@torch.no_grad()
def processor_steps(inspector: Inspector) -> tuple[ProcessorFacts, ...]:
    """What each processor so far did to the token that was likeliest after it. One copy to the host for all."""
    trail, found = inspector.event.trail, inspector.stop.candidates
    if len(trail) < 2 or found is None:
        return ()
    scores = torch.cat([each for _, each in trail])  # (stages, vocabulary)
    probs = torch.softmax(scores, dim=-1)
    leaders, former = scores[1:].argmax(dim=-1), scores[:-1].argmax(dim=-1)
    changes = [part.gather(1, each[:, None])[:, 0] for each in (leaders, former) for part in (probs[:-1], probs[1:])]
    left = torch.count_nonzero(scores[1:] != -torch.inf, dim=-1)
    table = torch.stack([each.double() for each in (leaders, former, left, *changes)]).cpu().tolist()
    cuts = dict(found.cuts)
    steps = []
    for (stage, _), leader, first, rest, before, after, first_before, first_after in zip(
        trail[1:], *table, strict=True
    ):
        name = stage.address.partition(".")[2]
        text, deposed = inspector.vocabulary.text(int(leader)), None
        if first != leader and first_after < after:
            deposed = (inspector.vocabulary.text(int(first)), first_before, first_after)
        cut = cuts.get(stage.address, 0)
        steps.append(ProcessorFacts(name, _setting(inspector, name), text, before, after, cut, int(rest), deposed))
    return tuple(steps)


def _setting(inspector: Inspector, name: str) -> float | None:
    sampling = inspector.debuggee.sampling
    return None if sampling is None else sampling.values.get(name)


@torch.no_grad()
def choice_facts(inspector: Inspector, table: LensTable | None) -> ChoiceFacts | None:
    """The choice at `sample`; None at every other stage."""
    event, chosen = inspector.event, inspector.stop.chosen
    if chosen is None or not event.trail:
        return None
    overrides = inspector.debuggee.timeline.overrides.get(event.token, TokenOverrides())
    scores = event.trail[-1][1]
    banned = tuple(inspector.vocabulary.text(id) for id in sorted(overrides.ban))
    leader = _likeliest(inspector, scores) if banned else None
    led, asked = _led(inspector, table, chosen.id)
    sampling = inspector.debuggee.sampling
    return ChoiceFacts(
        text=chosen.text,
        prob=chosen.prob,
        rank=chosen.rank,
        raw=inspector.run.probabilities_of([event.token])[0],
        greedy=sampling is None or not sampling.samples,
        runner_up=_likeliest(inspector, overrides.allowed(scores), chosen.id),
        banned_leader=leader if leader is not None and leader.text in banned else None,
        forced=overrides.force is not None,
        banned=banned,
        led=led,
        asked_layers=asked,
        ended_by=event.ended_by,
        ended_with=event.ended_with,
    )


def _likeliest(inspector: Inspector, scores: Tensor, chosen: int | None = None) -> PredictedToken | None:
    """The likeliest token other than `chosen`; None if a processor cut all of them."""
    values, ids = torch.softmax(scores[0], dim=-1).topk(min(2, scores.shape[-1]))
    pairs = zip(ids.tolist(), values.tolist(), strict=True)
    return next(
        (PredictedToken(inspector.vocabulary.text(id), prob) for id, prob in pairs if id != chosen and prob > 0), None
    )


def _led(inspector: Inspector, table: LensTable | None, chosen: int) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """The layers after which the lens predicts a token, and all layers that the lens covers.

    None if the lens is not about the position that the token was chosen at.
    """
    first, count = inspector.forward_positions()
    if table is None or table.position != first + count - 1:
        return None, ()
    first_of = [(each.layer, each.top[0].id) for each in table.rows if each.layer is not None]
    return tuple(layer for layer, id in first_of if id == chosen), tuple(layer for layer, _ in first_of)
