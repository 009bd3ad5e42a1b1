"""Measures what llmdbg costs: `python -m benchmarks [NAME …]`, which `make benchmark` calls.

    python -m benchmarks                        everything, on the demo model
    python -m benchmarks screen stops --write   two subjects, and their figures into benchmarks/README.md
    python -m benchmarks --model FOLDER_WITH_CONFIG --random-weights --device cuda --dtype bfloat16

Writes one JSON object to stdout; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence

from benchmarks import generation, going_back, inspection, instructions, recording, screen, stops, table
from benchmarks.harness import Benchmark, Setup, figures, machine, say

BENCHMARKS: dict[str, Benchmark] = {
    "generation": generation,
    "stops": stops,
    "instructions": instructions,
    "screen": screen,
    "inspection": inspection,
    "going_back": going_back,
    "recording": recording,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked for."""
    options = argparse.ArgumentParser(
        prog="python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    options.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all of them without one")
    options.add_argument("--model", default="smollm2", help="as llmdbg takes it")
    options.add_argument("--random-weights", action="store_true")
    options.add_argument("--device", default="auto")
    options.add_argument("--dtype", default="auto")
    options.add_argument("--quick", action="store_true", help="a smoke run: every row, figures that mean nothing")
    options.add_argument("--write", action="store_true", help="put the figures into benchmarks/README.md")
    chosen = options.parse_args(arguments)
    if unknown := set(chosen.names) - set(BENCHMARKS):
        options.error(f"there is no benchmark {', '.join(sorted(unknown))}")
    if chosen.quick and chosen.write:
        options.error("figures of a quick run mean nothing: leave out --write")
    setup = Setup(chosen.model, chosen.device, chosen.dtype, chosen.random_weights, chosen.quick)
    report: dict[str, object] = {"machine": machine(setup)}
    for name in chosen.names or BENCHMARKS:
        say(f"{name} …")
        started = time.perf_counter()
        found = report[name] = figures(BENCHMARKS[name], setup)
        say(f"{name}: {time.perf_counter() - started:.0f} s")
        if chosen.write:
            text = table.filled(table.README.read_text(encoding="utf-8"), name, BENCHMARKS[name].ROWS, found)
            table.README.write_text(table.with_machine(text, machine(setup)), encoding="utf-8")
    print(json.dumps(report, indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
