"""llmdbg on the ranks of a torchrun, one of which fails by itself: `failing_rank.py HOW WHERE NUMBER RANK ARGUMENT…`.

HOW is `raise` or `exit`, WHERE is `import`, `load`, `exchange`, `forward` or `meet`: the NUMBER-th time that RANK
imports a module, loads a tensor, exchanges something, runs an MLP or looks for the others, it raises ValueError, or
ends its process with exit code 7. The file that `LLMDBG_PLANTED` names then says when. Everything else is what
`python -m llmdbg ARGUMENT…` does.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

CODE = 7


class Fault:
    """Happens once it has come so many times."""

    def __init__(self, how: str, number: int) -> None:
        self._how, self._left = how, number

    def comes(self) -> None:
        """Count down; at the end raise ValueError, or end the process."""
        self._left -= 1
        if self._left == 0:
            Path(os.environ["LLMDBG_PLANTED"]).write_text(str(time.time()), encoding="ascii")
        if self._left == 0 and self._how == "exit":
            os._exit(CODE)
        if self._left == 0:
            raise ValueError("planted")


def before(holder: Any, name: str, do: Callable[[], None]) -> None:
    """Have `do` called whenever a function of a module or a class is, before it."""
    plain = getattr(holder, name)

    def both(*arguments: Any, **named: Any) -> Any:
        do()
        return plain(*arguments, **named)

    setattr(holder, name, both)


class Imports:
    """Sees each module that is imported."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def find_spec(self, *_: object) -> None:
        """Leave it to the others to find the module."""
        self._fault.comes()


def plant(where: str, fault: Fault) -> None:
    """Let a fault come wherever it is to."""
    if where == "import":
        sys.meta_path.insert(0, Imports(fault))
    elif where == "load":
        from transformers import core_model_loading

        before(core_model_loading, "set_param_for_module", fault.comes)
    elif where == "exchange":
        from llmdbg.engine.ranks.world import World

        before(World, "_begins", fault.comes)
    elif where == "forward":
        from transformers.models.llama.modeling_llama import LlamaMLP

        before(LlamaMLP, "forward", fault.comes)
    elif where == "meet":
        from llmdbg.frontends.ranks import Ranks

        before(Ranks, "find_each_other", fault.comes)


def main() -> int:
    """Run as `python -m llmdbg` does."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    how, where, number, rank, *arguments = sys.argv[1:]
    if os.environ["RANK"] == rank:
        plant(where, Fault(how, int(number)))
    from llmdbg import cli

    return cli.main(arguments)


if __name__ == "__main__":
    sys.exit(main())
