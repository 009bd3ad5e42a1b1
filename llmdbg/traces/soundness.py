"""What is wrong with a recording that nobody would notice who reads only some of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llmdbg.errors import TraceError

if TYPE_CHECKING:
    from llmdbg.traces.reader import Trace

_LOOKED_AT = 4
"""How many tokens are looked at, spread over the recording."""


def damage(trace: Trace) -> tuple[str, ...]:
    """What is damaged or cut off, a sentence each, as far as a quick look at some of the tokens tells.

    The hash of a stage that returned one position is that position's hash too, in another file.
    """
    count = len(trace.tokens)
    said = [f"{trace.tokens.path} is cut off in the middle of token {count}"] if trace.tokens.is_cut else []
    for token in sorted({round(each) for each in np.linspace(0, count - 1, _LOOKED_AT)}) if count else ():
        try:
            if (address := _differing(trace, token)) is not None:
                said.append(f"{trace.folder} is damaged: at token {token}, {address} has not the values that it had")
                break
        except TraceError as error:
            said.append(str(error))
            break
    return tuple(said)


def _differing(trace: Trace, token: int) -> str | None:
    for each in trace.stages(token):
        hashes = each.position_hashes if each.positions == 1 and each.hash is not None else None
        if hashes is not None and int(hashes[0]) != each.hash:
            return each.address
    return None
