"""What a comparison reports of its two sides and of each stage, as frozen values."""

from __future__ import annotations

from traceback import walk_tb
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.outcome import ComparedStage, SideFacts
from llmdbg.version import __version__

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.judge import Measurements
    from llmdbg.debugger.comparison.side import FreeRun, LiveSide
    from llmdbg.debugger.comparison.stage_errors import ErrorTable
    from llmdbg.engine.debuggee import Vocabulary
    from llmdbg.models.anatomy import Anatomy


def side_facts(side: LiveSide, run: FreeRun | None) -> SideFacts:
    """One side for headers; `run` is None if it failed."""
    import torch
    import transformers

    loaded = side.loaded
    ids = tuple(run.ids) if run is not None else ()
    vocabulary = run.debuggee.vocabulary if run is not None else None
    return SideFacts(
        name=side.name,
        place=f"{loaded.device} {loaded.dtype}",
        attn=loaded.attn,
        prompt=side.prompt.ids,
        ids=ids,
        text="" if vocabulary is None else vocabulary.decode(ids),
        prompt_text=side.prompt.text,
        tokens=() if vocabulary is None else tuple(map(vocabulary.text, ids)),
        prompt_tokens=() if vocabulary is None else tuple(_spelled(vocabulary, each) for each in side.prompt.ids),
        padding=side.prompt.padding,
        versions={"llmdbg": __version__, "torch": torch.__version__, "transformers": transformers.__version__},
    )


def _spelled(vocabulary: Vocabulary, id: int) -> str:
    token = vocabulary.token(id)
    return token.text or token.piece


def compared_stages(followed: ErrorTable, measured: Measurements | None, anatomy: Anatomy) -> tuple[ComparedStage, ...]:
    """Every stage in the order in which it ran, with its errors; `measured` is None if none is isolated."""
    stages = {stage.address: stage for stage in anatomy.stages}
    tokens = followed.tokens()
    rows = []
    for address, error in followed.overall().items():
        own = None if measured is None else measured.candidate.own.get(address)
        function = None if measured is None or measured.function is None else measured.function.own.get(address)
        # Nothing is known of tensors of different shapes but that they differ.
        own = None if own is None or own.shape_differs else own
        stage = stages.get(address)
        depth = 1 if stage is None else stage.depth
        at = [followed.at(token, address) for token in tokens]
        rows.append(
            ComparedStage(
                address=address,
                layer=None if stage is None else stage.layer,
                depth=depth,
                accumulated=None if error.shape_differs else error.relative,
                isolated=None if own is None else own.relative,
                floor=None if measured is None or own is None else measured.floor(address),
                function=None if function is None else function.relative,
                equal=error.equal,
                first_token=next(
                    (token for token, each in zip(tokens, at, strict=True) if each and not each.equal), None
                ),
                by_token=tuple(None if each is None or each.shape_differs else each.relative for each in at)
                if depth == 1
                else (),
            )
        )
    return tuple(rows)


def failing_stage(failure: BaseException, anatomy: Anatomy) -> str | None:
    """The innermost stage in whose forward something was raised; None if it was outside all of them."""
    addresses = {id(module): address for address, module in anatomy.modules.items()}
    found, error = None, failure.__cause__
    while error is not None:
        for frame, _ in walk_tb(error.__traceback__):
            found = addresses.get(id(frame.f_locals.get("self")), found)
        error = error.__cause__
    return found
