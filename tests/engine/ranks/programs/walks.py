"""Random moves back and forth on the ranks of a torchrun: `walks.py MOVES FOLDER…`, one model after the other.

Rank 0 prints a line for each model: what `verify` says of it, and how many commands ran of how many.
"""

import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[4]))

from llmdbg import cli
from llmdbg.debugger.commands import COMMANDS, Answer, Moved
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import RanksPartedError, UsageError
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.opening import cut_prompt
from llmdbg.frontends.output import write_lines
from llmdbg.frontends.ranks import Ranks
from llmdbg.models.loading import load
from llmdbg.models.spec import ModelSpec

TOKENS = 5


def moves(chance: random.Random, debugger: Debugger, count: int) -> list[str]:
    """Command lines, the same on every rank."""
    addresses = [each.address for each in debugger.run.stages.all() if each.address != "tokenize"]

    def one() -> str:
        address, token = chance.choice(addresses), chance.randrange(TOKENS)
        return chance.choice(
            [
                *(f"step {chance.randrange(1, 9)}", "next 2", "finish", "token", "continue", f"until {address}"),
                *(f"reverse-step {chance.randrange(1, 9)}", "reverse-next", "reverse-token", "reverse-continue"),
                *(f"goto {address}@{token}", f"break {address} if norm > {chance.randrange(9)}", "delete"),
                *(f"scale {address} 1.5", "undo", f"force {chance.randrange(99)}", "run", "info kv", f"x {address}"),
            ]
        )

    return [one() for _ in range(count)]


def walk(ranks: Ranks, folder: str, count: int) -> tuple[int, str]:
    """Run the moves and verify what is left. Returns how many moves could be made, and the last answer."""
    loaded = load(ModelSpec(folder), place=ranks.place)
    settings = GenerationSettings(max_new_tokens=TOKENS, seed=7)
    prompt = cut_prompt(loaded, "The quick brown", chat=False, system=None)
    debugger = Debugger(ranks.debuggee(loaded, prompt, settings))
    made = 0
    for line in moves(random.Random(folder.rpartition("/")[2]), debugger, count):
        try:
            outcome = COMMANDS.run(debugger, line)
        except RanksPartedError:
            raise
        except UsageError:
            continue
        made += 1
        if isinstance(outcome, Moved):
            assert not outcome.stop.unequal, (line, outcome.stop.unequal)
    debugger.close()
    # What is left of the model is what was there before.
    after = Debugger(ranks.debuggee(loaded, prompt, settings))
    COMMANDS.run(after, "continue")
    answer = COMMANDS.run(after, "verify")
    after.close()
    assert isinstance(answer, Answer)
    return made, " ".join(answer_lines(answer.data))


def main() -> int:
    """Walk through each model."""
    count, *folders = sys.argv[1:]

    def do(_arguments: object, ranks: Ranks) -> int:
        ranks.find_each_other(ModelSpec(folders[0]))
        for folder in folders:
            made, verified = walk(ranks, folder, int(count))
            write_lines([f"{Path(folder).name} {made} of {count}: {verified}"])
        return ranks.end()

    cli._do = do  # type: ignore[assignment]
    return cli.main([])


if __name__ == "__main__":
    sys.exit(main())
