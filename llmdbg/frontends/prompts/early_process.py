"""A process of its own that cuts a prompt into its tokens, without torch: run as a program by `early.py`.

It reads one line of JSON, the job, and writes the rows of the tokens and how many tokens there are, or nothing. It ends
when the other end of its stdin does, which is when the process that started it ends.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import signal
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.frontends.prompts.cutting import Cutting
    from llmdbg.models.spec import ModelSpec

_SECONDS, _MEMORY = 30, 3 * 2**30
_NICE = 19
"""Where cores are scarce, whoever imports torch goes first: for this the first stop must not come later."""
_STDIN = 0


def main() -> None:
    """Do the job."""
    os.nice(_NICE)
    # With torch, transformers imports it: that is what takes long, and a tokenizer makes lists without it.
    sys.modules["torch"] = None  # type: ignore[assignment]
    job = json.loads(sys.stdin.buffer.readline())
    _end_with_parent()
    sys.path[:] = job["path"]
    from llmdbg.models.spec import ModelSpec

    found = _cut(ModelSpec(**job["model"]), job["text"], job["how"])
    if found is not None:
        sys.stdout.buffer.write(found)
        sys.stdout.buffer.flush()
    # Nothing of what was imported has anything to tidy up.
    os._exit(0)


def _end_with_parent() -> None:
    """Have the system end this process and all that it starts once nobody holds the other end of stdin.

    A signal does that also while a library written in Rust is busy, which a thread of Python's would wait for.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(_STDIN, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(_STDIN, fcntl.F_SETFL, fcntl.fcntl(_STDIN, fcntl.F_GETFL) | os.O_ASYNC)
    # It may have ended before.
    if select.select([_STDIN], [], [], 0)[0]:
        os._exit(1)


def _cut(spec: ModelSpec, text: str, how: Cutting) -> bytes | None:
    """The rows of the tokens and their number as JSON; None if the model is not on this machine yet, or is a file."""
    import gc

    from llmdbg.models.bounded import limit

    gc.disable()
    limit(_SECONDS, _MEMORY)
    import msgspec

    from llmdbg.frontends.prompts.cutting import cut_before_weights, prompt_rows
    from llmdbg.models.configurations import load_config
    from llmdbg.models.sources import source_at_hand
    from llmdbg.models.tokenizer_files import load_tokenizer

    source = source_at_hand(spec.name)
    # transformers reads a GGUF file with torch.
    if source is None or source.gguf is not None:
        return None
    config = load_config(source, trust_remote_code=False, with_model=False)
    tokenizer = load_tokenizer(source, spec)
    cut = cut_before_weights(tokenizer, config, text, how)
    return None if cut is None else msgspec.json.encode((prompt_rows(cut, tokenizer), len(cut.ids)))


if __name__ == "__main__":
    main()
