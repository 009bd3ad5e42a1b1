"""What the screen costs: time to the first frame, time and bytes of a step, bytes at rest, and what `continue` loses.

    python benchmarks/screen.py [MODEL]

Runs `llmdbg` in a real pty. Writes one JSON object to stdout; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from llmdbg.debugger.execution.stop import TokenRow
from llmdbg.frontends.tui.state.search import Index
from tests.sessions import write_tiny_folder
from tests.terminal import Terminal

PROMPT = "Can you write an email explaining what an LLM is?"
_QUIET = 0.08
_256 = {"TERM": "xterm-256color", "COLORTERM": None}


def main() -> None:
    """Measure everything."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("model", nargs="?", default="smollm2")
    options.add_argument("--steps", type=int, default=100)
    options.add_argument("--only", choices=sorted(MEASUREMENTS), action="append")
    chosen = options.parse_args()
    report = {}
    for name, measure in MEASUREMENTS.items():
        if chosen.only is None or name in chosen.only:
            print(f"{name} …", file=sys.stderr)
            report[name] = measure(chosen)
    print(json.dumps(report, indent=2))


def opened(options: argparse.Namespace, *more: str, size: tuple[int, int]) -> Terminal:
    """The program at its first stop."""
    command = [sys.executable, "-m", "llmdbg", options.model, "--chat", "-p", PROMPT, "--greedy", *more]
    seen = Terminal(*command, size=size, environment=dict(_256))
    seen.wait_for("tokenize")
    seen.wait_for("Can·you")
    seen.read(0.5)
    return seen


def first_frame(options: argparse.Namespace) -> dict[str, float]:
    """Seconds from the start to the model's name on screen."""
    seconds = []
    for _ in range(9):
        started = time.perf_counter()
        seen = Terminal(sys.executable, "-m", "llmdbg", options.model, "-p", PROMPT, size=(120, 40))
        while "starting" not in seen.text:
            seen.read(0.002)
        seconds.append(seen.last_byte - started)
        seen.close()
    return summary(seconds, 4)


def steps(options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds from a key to the last byte, and bytes, of `s` at several sizes."""
    report = {}
    for size in ((80, 24), (120, 40), (200, 50)):
        seen = opened(options, size=size)
        # In a decode a stage takes well under a millisecond, so that what is left is the screen's.
        for _ in range(2):
            seen.send("t")
            seen.read(1.5)
        report[f"{size[0]}x{size[1]}"] = measured_steps(seen, options.steps)
        seen.close()
    return report


def long_prompt(options: argparse.Namespace) -> dict[str, Any]:
    """The same as `steps` in a tiny model over a prompt of 30,000 tokens, in its prefill and in its decode."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = write_tiny_folder(Path(scratch) / "tiny", context=40_000)
        text = Path(scratch) / "prompt.txt"
        text.write_text("The quick brown fox jumps over the lazy dog. " * 2_200)
        command = [sys.executable, "-m", "llmdbg", str(folder), "--prompt-file", str(text), "--greedy", "-n", "400"]
        report = {}
        for size in ((80, 24), (120, 40)):
            seen = Terminal(*command, size=size, environment=dict(_256))
            seen.wait_for("tokenize")
            seen.wait_for("tokens ")
            seen.read(2)
            seen.send("t")
            seen.wait_for("the next token is chosen", 180)
            seen.send("t")
            seen.read(2)
            report[f"{size[0]}x{size[1]}"] = measured_steps(seen, options.steps)
            seen.close()
    return report


def measured_steps(seen: Terminal, count: int) -> dict[str, Any]:
    """Milliseconds and bytes of `count` steps, each from the key to the last byte."""
    # Drawing takes longer than a step, and the next bytes would be seen late.
    seen.drawing = False
    times, sizes = [], []
    for _ in range(count):
        before, started = len(seen.received), time.perf_counter()
        seen.send("s")
        seen.read(_QUIET)
        times.append((seen.last_byte - started) * 1e3)
        sizes.append(len(seen.received) - before)
    return {"milliseconds": summary(times, 1), "bytes": summary(sizes, 0)}


def rest(options: argparse.Namespace) -> int:
    """Bytes in five seconds with a breakpoint hit on screen."""
    seen = opened(options, "-b", "3", "-ex", "continue", size=(120, 40))
    seen.wait_for("layer 3")
    seen.read(1.0)
    before = len(seen.received)
    seen.read(5.0)
    seen.close()
    return len(seen.received) - before


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Tokens a second of `continue` on the screen against the same headless, in turns, and bytes a second."""
    tokens = 96
    ratios, rates = [], []
    for _ in range(5):
        seen = opened(options, "-n", str(tokens), size=(120, 40))
        seen.drawing = False
        before, started = len(seen.received), time.perf_counter()
        seen.send("c")
        seen.wait_for_bytes(b"ended")
        on_screen = seen.last_byte - started
        rates.append((len(seen.received) - before) / on_screen)
        seen.close()
        ratios.append(on_screen / headless(options, tokens))
        print(f"continue: {ratios[-1]:.3f}", file=sys.stderr)
    return {"seconds_over_headless": summary(ratios, 3), "bytes_per_second": summary(rates, 0)}


def headless(options: argparse.Namespace, tokens: int) -> float:
    """Seconds between the first stop and the end of the same run without a screen."""
    command = [sys.executable, "-m", "llmdbg", options.model, "--chat", "-p", PROMPT, "--greedy", "-n", str(tokens)]
    command += ["--batch", "--json", "-ex", "info stage", "-ex", "continue"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=os.environ)
    assert process.stdout is not None
    at = {json.loads(line)["event"]: time.perf_counter() for line in process.stdout}
    return at["end"] - at["result"]


def search(options: argparse.Namespace) -> dict[str, float]:
    """Milliseconds of the processor that one search of 30,000 tokens takes, once they are indexed."""
    words = (" the", " email", "ing", ",", " a", " model", " quick", " fo", "x", "\n")
    tokens = [TokenRow(n, n, words[n * 7 % 10], words[n * 7 % 10], False, None) for n in range(30_000)]
    index = Index()
    index.matches("warm", tokens, ())
    times = []
    for query in ("e", "em", "email", "fox", "the quick", "#1007", "no such text") * 5:
        started = time.process_time()
        index.matches(query, tokens, ())
        times.append((time.process_time() - started) * 1e3)
    return summary(times, 2)


def summary(values: list[float] | list[int], digits: int) -> dict[str, float]:
    """Median, 95th percentile and most."""
    ordered = sorted(values)
    p95 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
    named = {"median": statistics.median(ordered), "p95": p95, "max": ordered[-1]}
    return {name: round(value, digits) for name, value in named.items()}


MEASUREMENTS = {
    "first_frame": first_frame,
    "steps": steps,
    "long_prompt": long_prompt,
    "rest": rest,
    "continue": run,
    "search": search,
}

if __name__ == "__main__":
    main()
