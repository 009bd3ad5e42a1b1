"""Plants faults and counts how many are named: `python -m benchmarks.planted`, which `make planted` calls.

    python -m benchmarks.planted                       200 faults in two dtypes, and 100 pairs of noise
    python -m benchmarks.planted --seed 7 --faults 60  others
    python -m benchmarks.planted --only rope           those whose kind, model or seed holds a word
    python -m benchmarks.planted --write               the table into docs/comparing.md

Exits with 1 if fewer are named than `docs/comparing.md` promises, or if anybody is accused for noise.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import torch
import transformers

from benchmarks.planted import noise
from benchmarks.planted.running import DTYPES, KINDS, cases, run, say

DOCUMENT = Path(__file__).parents[2] / "docs" / "comparing.md"
_BETWEEN = re.compile(r"(<!-- planted -->\n).*?(<!-- end -->)", re.DOTALL)
PROMISED = {"float32": 0.95, "bfloat16": 0.90}


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant, compare, count, and print the table. Returns the exit status."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks.planted", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("--faults", type=int, default=200)
    options.add_argument("--pairs", type=int, default=100)
    options.add_argument("--demo", type=int, default=0, help="so many of each in the demo model, a minute or more each")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", default="", help="a word of the cases to run")
    options.add_argument("--write", action="store_true", help="put the table into docs/comparing.md")
    chosen = options.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    planted, named = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for case in cases(chosen.faults, chosen.demo, chosen.seed):
        for dtype in DTYPES if chosen.only in str(case) else ():
            outcome = run(case, dtype)
            if not outcome.counts:
                continue
            planted[case.kind, dtype] += 1
            named[case.kind, dtype] += outcome.right
            if not outcome.right:
                say(f"{case}, {dtype}: {outcome.fault.says}: {outcome.named} was named")
    accused = 0
    pairs = [pair for pair in noise.pairs(chosen.pairs, chosen.demo) if chosen.only in str(pair)]
    for pair in pairs:
        if findings := noise.run(pair).found.findings:
            accused += 1
            say(f"{pair}: {findings[0]} was accused")
    table = _table(planted, named, len(pairs), accused)
    print(table)
    if chosen.write:
        text = DOCUMENT.read_text(encoding="utf-8")
        replaced = re.sub(
            r"(<!-- planted -->\n).*?(<!-- end -->)", lambda m: m[1] + table + m[2], text, flags=re.DOTALL
        )
        DOCUMENT.write_text(replaced, encoding="utf-8")
    few = any(_sum(named, dtype) < share * _sum(planted, dtype) for dtype, share in PROMISED.items())
    return 1 if few or accused else 0


def _table(planted: Counter[tuple[str, str]], named: Counter[tuple[str, str]], pairs: int, accused: int) -> str:
    def row(title: str, counts: Sequence[tuple[int, int]]) -> str:
        return f"| {title} | {' | '.join(f'{right} of {all_}' if all_ else '' for right, all_ in counts)} |\n"

    lines = [f"| fault | {' | '.join(DTYPES)} |\n", "| --- | --- | --- |\n"]
    for kind in KINDS:
        if any(planted[kind, dtype] for dtype in DTYPES):
            lines.append(row(kind, [(named[kind, dtype], planted[kind, dtype]) for dtype in DTYPES]))
    lines.append(row("**all**", [(_sum(named, dtype), _sum(planted, dtype)) for dtype in DTYPES]))
    lines.append(f"\nOf {pairs} pairs that differ by noise alone, {accused} were accused.\n")
    return "".join(lines)


def _sum(counts: Counter[tuple[str, str]], dtype: str) -> int:
    return sum(count for (_, of), count in counts.items() if of == dtype)


if __name__ == "__main__":
    raise SystemExit(main())
