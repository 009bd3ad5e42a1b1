"""Where the program starts: `llmdbg`, and `python -m llmdbg`."""

import os
import signal
import sys

if "RANK" in os.environ:
    # torchrun ends all ranks as soon as one is lost: this one has to be able to say so first.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

_OURS = "LLMDBG_SET_HASH_SEED"
_SEED = "PYTHONHASHSEED"


def start() -> int:
    """Run llmdbg with this process's arguments. Returns the exit code."""
    _begin_again_in_one_order()
    from llmdbg.cli import main

    return main()


def _begin_again_in_one_order() -> None:
    """Make this process walk over sets of strings in the order in which every other process of llmdbg does.

    Models do (Gemma 3 calls its rotary embedding for each of `set(config.layer_types)`), and Python draws the order
    anew at each start. Ranks, recordings, two sides of `diff` and resumed sessions would be at different calls. Python
    takes the order from the environment as it starts, so it is started again; what the environment says stays as it
    was, for a user's program too. An order that the user has set is kept.
    """
    if os.environ.pop(_OURS, None) is not None:
        os.environ.pop(_SEED, None)
    elif _SEED not in os.environ and sys.executable:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], os.environ | {_SEED: "0", _OURS: "1"})


if __name__ == "__main__":
    sys.exit(start())
