"""What the screen costs, in a real pty, in the layout that opens by default: latency and bytes of a step, and more.

Latency is from the key to the last byte of what it changes. Beside it stands what is left of it without the stage
itself, whose time is that of the same step in a debugger without a screen, from one stage to the next; and the latency
of `bare_textual.py`. Their steps and keys take turns with the program's.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

from benchmarks.harness import PROMPT, Figure, Setup, Spread, do, pairs, seconds
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.stage_event import StageEvent
from llmdbg.frontends.tui.presets import PRESETS
from tests.hub_server import NAME, HubServer
from tests.sessions import write_tiny_folder
from tests.terminal import Terminal

Size = tuple[int, int]
SIZES: tuple[Size, ...] = ((80, 24), (120, 40), (200, 50))
MIDDLE: Size = (120, 40)
KEYS = {"n": "next", "s": "step"}
PHASES = ("prefill", "decode")
BIG_KEYS = ("t", "a", "?", "l", "z")
TOKENS = 96


def step_row(key: str, size: Size, phase: str) -> str:
    """The name of a step's row."""
    return f"`{key}` at {size[0]}×{size[1]}, {phase}"


def most_row(size: Size) -> str:
    """The name of the row of the keys that change much of the screen."""
    return f"most of {' '.join(f'`{key}`' for key in BIG_KEYS)} at {size[0]}×{size[1]}, in a prefill"


FRAME, FIRST_TOKENS, HUB_TOKENS, FIRST_STOP, REST, CONTINUE, CONTINUE_OFF = (
    "first frame",
    "the prompt's tokens, from the start of the program",
    "the prompt's tokens of a tiny model of the Hub, before its weights",
    "first stop, from the start of the program",
    "bytes in 5 s at rest, a breakpoint hit",
    f"`continue` over {TOKENS} tokens",
    "the same with what each layer would say switched off (`L`)",
)
LONG_STEP, LONG_SEARCH = (
    "`s` at 120×40, decode after 30,000 tokens, a tiny model",
    "a letter after `/` in 30,000 tokens, at 120×40",
)

ROWS = {
    FRAME: "≤ 0.5 s",
    FIRST_TOKENS: "",
    HUB_TOKENS: "",
    FIRST_STOP: "",
    **{
        step_row(key, size, phase): "≤ 15 ms beyond the stage itself, p95 ≤ 40 ms"
        + {(80, 24): ", ≤ 2.5 kB", (120, 40): ", ≤ 4 kB", (200, 50): ", ≤ 4 kB"}[size]
        for size in SIZES
        for phase in PHASES
        for key in KEYS
    },
    **{most_row(size): "≤ 16 kB" for size in SIZES},
    REST: "0",
    CONTINUE: "≤ 1.05 ×, ≤ 30 kB/s",
    CONTINUE_OFF: "≤ 1.03 ×, ≤ 30 kB/s",
    LONG_STEP: "as after a short prompt",
    LONG_SEARCH: "",
}

BARE, BYTES, BEYOND = "× bare Textual", "bytes", "ms beyond the stage itself"
IMPORTS = "× importing torch and transformers"
HEADLESS, RATE = "× the same in a program", "bytes a second"
SHORT = "× the same after a short prompt"

TOKENS_THERE, STOP_THERE = ("the prompt, ", "embed"), ("embed",)
"""Any of these is on the screen once the prompt's tokens are, and at the first stop. Both have the tokens."""

_IMPORTING = "from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel"

_QUIET = 0.12
"""Seconds without a byte after which a key's work is taken to be over."""

_MOST_SECONDS = 20


def measure(setup: Setup) -> Iterator[tuple[str, Figure]]:
    """Every row."""
    with ExitStack() as stack:
        environment = stack.enter_context(fresh_environment())
        yield FRAME, first_frame(setup, environment)
        yield FIRST_TOKENS, first_tokens(setup, environment, TOKENS_THERE)
        yield HUB_TOKENS, hub_tokens(setup, environment)
        yield FIRST_STOP, first_tokens(setup, environment, STOP_THERE)
        arguments = (*model_of(setup), "--chat", "-p", PROMPT, "-n", str(TOKENS))
        # They load at the same time; at rest none of them does anything.
        programs = {size: stack.enter_context(started(arguments, size, environment)) for size in SIZES}
        bare = {size: stack.enter_context(started_bare(size, environment)) for size in SIZES}
        for program in programs.values():
            ready(program)
        debugger = setup.debugger(TOKENS)
        stack.callback(debugger.close)
        for size, program in programs.items():
            for phase in PHASES:
                for key in KEYS:
                    count = setup.times(40)
                    yield step_row(key, size, phase), steps(program, bare[size], debugger, key, phase, count)
            yield most_row(size), most(program)
        middle = programs[MIDDLE]
        yield REST, rest(middle, 1 if setup.quick else 5)
        yield CONTINUE, going_on(setup, middle)
        # At the end of a run its text lies over the panes.
        command(middle, "goto norm@0")
        press(middle, "L", 0.5)
        yield CONTINUE_OFF, going_on(setup, middle)
        yield from long_prompt(setup, environment)


@contextmanager
def fresh_environment() -> Iterator[dict[str, str | None]]:
    """No saved session, no preferences of anybody's, 256 colours."""
    with tempfile.TemporaryDirectory() as scratch:
        yield {
            "TERM": "xterm-256color",
            "COLORTERM": None,
            "XDG_STATE_HOME": f"{scratch}/state",
            "XDG_CONFIG_HOME": f"{scratch}/config",
            # As `llmdbg` sets them for itself; here they are for the bare program.
            "TEXTUAL_FPS": "1000",
            "TEXTUAL_ANIMATIONS": "none",
        }


def model_of(setup: Setup) -> tuple[str, ...]:
    """The model's command-line options."""
    random = ("--random-weights",) if setup.random_weights else ()
    return (setup.model, "--greedy", "--device", setup.device, "--dtype", setup.dtype, *random)


@contextmanager
def started(arguments: tuple[str, ...], size: Size, environment: dict[str, str | None]) -> Iterator[Terminal]:
    """The program in a pty."""
    seen = Terminal(*python("llmdbg", environment), *arguments, size=size, environment=environment)
    try:
        yield seen
    finally:
        seen.close()


@contextmanager
def started_bare(size: Size, environment: dict[str, str | None]) -> Iterator[Terminal]:
    """The bare program in a pty, its first line drawn."""
    seen = Terminal(*python("benchmarks.bare_textual", environment), size=size, environment=environment)
    try:
        seen.wait_for("starting")
        seen.drawing = False
        yield seen
    finally:
        seen.close()


def ready(program: Terminal, seconds: float = 120) -> None:
    """Wait for the first stop. From then on nothing is drawn: emulating a terminal takes time of its own."""
    program.wait_for("embed", seconds)
    program.read(0.5)
    program.drawing = False


def first_frame(setup: Setup, environment: dict[str, str | None]) -> Figure:
    """Seconds from the start of the program to its first frame."""
    ours = partial(first_frame_seconds, (*model_of(setup), "-p", PROMPT), environment)
    bare = partial(first_frame_seconds, (), environment, "benchmarks.bare_textual")
    times, _, ratios = pairs(ours, bare, setup.times(9))
    return Figure(Spread.of(times), "s", {BARE: Spread.of(ratios)})


def first_tokens(setup: Setup, environment: dict[str, str | None], words: tuple[str, ...]) -> Figure:
    """Seconds from the start of the program until any of the words is there."""
    ours = partial(first_frame_seconds, (*model_of(setup), "-p", PROMPT), environment, words=words)
    times, _, ratios = pairs(ours, importing_seconds, setup.times(9))
    return Figure(Spread.of(times), "s", {IMPORTS: Spread.of(ratios)})


def hub_tokens(setup: Setup, environment: dict[str, str | None]) -> Figure:
    """The same for a model of a Hub on this machine that never sends its weights, each time with an empty cache."""
    with tempfile.TemporaryDirectory() as scratch, HubServer(write_tiny_folder(Path(scratch) / "tiny", 2000)) as hub:

        def ours() -> float:
            home = Path(tempfile.mkdtemp(dir=scratch))
            return first_frame_seconds(
                (NAME, "-p", PROMPT), {**environment, **hub.environment(home)}, words=TOKENS_THERE
            )

        times, _, ratios = pairs(ours, importing_seconds, setup.times(9))
    return Figure(Spread.of(times), "s", {IMPORTS: Spread.of(ratios)})


def importing_seconds() -> float:
    """Import what any program with a model imports, in a process of its own."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", _IMPORTING], check=True, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begun


def first_frame_seconds(
    arguments: tuple[str, ...],
    environment: dict[str, str | None],
    module: str = "llmdbg",
    words: tuple[str, ...] = ("starting",),
) -> float:
    """Start a program; end it once any of the words is there: by default its first frame."""
    begun = time.perf_counter()
    seen = Terminal(*python(module, environment), *arguments, size=MIDDLE, environment=environment)
    there, looked_at = False, 0
    while not there:
        seen.read(0.002)
        # Looking costs milliseconds: done all the time, it would take a core from the program.
        if len(seen.received) > looked_at:
            looked_at = len(seen.received)
            there = any(each in seen.text for each in words)
    seen.close()
    return seen.last_byte - begun


def python(module: str, environment: dict[str, str | None]) -> tuple[str, ...]:
    """The command that runs a module: that of the working folder, unless the environment names another."""
    safe = ("-P",) if "PYTHONPATH" in environment else ()
    return (sys.executable, *safe, "-m", module)


def press(program: Terminal, key: str, quiet: float = _QUIET) -> tuple[float, int]:
    """Milliseconds from a key to the last byte of what it changed, and how many bytes that was."""
    before, begun = len(program.received), time.perf_counter()
    program.send(key)
    while len(program.received) == before:
        program.read(quiet)
        if program.process.poll() is not None or time.perf_counter() - begun > _MOST_SECONDS:
            raise RuntimeError(f"{key!r} changed nothing on the screen (exit code {program.process.poll()})")
    return (program.last_byte - begun) * 1e3, len(program.received) - before


def command(program: Terminal, line: str) -> None:
    """Type a command line, and wait until nothing has been written for half a second."""
    press(program, f":{line}\r", 0.5)


def lines_before(step: int, phase: str) -> tuple[str, ...]:
    """The commands that bring a program to where steps of a phase begin, none while they go on."""
    if phase == "decode":
        return ("goto embed@0", "until sample@2") if step == 0 else ()
    # There is only one prefill: its layers are gone through again.
    return ("goto embed@0",) if step % 20 == 0 else ()


def steps(program: Terminal, bare: Terminal, debugger: Debugger, key: str, phase: str, count: int) -> Figure:
    """So many steps of a phase, between the same in a debugger without a screen and keys of the bare program."""
    times, beyond, sizes, ratios = [], [], [], []
    for step in range(count):
        for line in lines_before(step, phase):
            command(program, line)
            do(debugger, line)
        milliseconds, size = press(program, key)
        times.append(milliseconds)
        sizes.append(size)
        beyond.append(milliseconds - stage_milliseconds(debugger, KEYS[key]))
        ratios.append(milliseconds / press(bare, "x", 0.03)[0])
    beside = {BEYOND: Spread.of(beyond), BARE: Spread.of(ratios), BYTES: Spread.of(sizes)}
    return Figure(Spread.of(times), "ms", beside)


def stage_milliseconds(debugger: Debugger, line: str) -> float:
    """How long a command takes from one stage to the next, without describing where it has come to."""
    cursor, spent = debugger.run.cursor, []

    def timed(advance: Callable[[], StageEvent] = cursor.advance) -> StageEvent:
        begun = time.perf_counter()
        event = advance()
        spent.append((time.perf_counter() - begun) * 1e3)
        return event

    with patch.object(cursor, "advance", timed):
        do(debugger, line)
    return sum(spent)


def most(program: Terminal) -> Figure:
    """The most bytes that a key sends which changes much of the screen; each is pressed until all is as before."""
    command(program, "goto embed@0")
    pressed = [key for key in BIG_KEYS for _ in range({"t": 1, "l": len(PRESETS)}.get(key, 2))]
    return Figure(None, "", {BYTES: Spread.of([max(press(program, key, 0.5)[1] for key in pressed)])})


def rest(program: Terminal, seconds: float) -> Figure:
    """Bytes after a breakpoint was hit."""
    command(program, "break 2")
    command(program, "continue")
    before = len(program.received)
    program.read(seconds)
    size = len(program.received) - before
    command(program, "delete")
    return Figure(None, "", {BYTES: Spread.of([size])})


def going_on(setup: Setup, program: Terminal) -> Figure:
    """A whole run on the screen, in turns with the same in a program that has none."""
    debugger = setup.debugger(TOKENS)
    rates = []

    def on_screen() -> float:
        before, begun = len(program.received), time.perf_counter()
        if setup.quick:
            # A tiny model's run is over before the header says anything else than that the one before has ended.
            press(program, ":run\r", 0.5)
        else:
            program.send(":run\r")
            program.wait_for_bytes(b"running", 600)
            program.wait_for_bytes(b"ended", 600)
        seconds = program.last_byte - begun
        rates.append((len(program.received) - before) / seconds)
        program.read(0.5)
        return seconds

    times, _, ratios = pairs(on_screen, partial(seconds, partial(do, debugger, "run")), setup.times(5))
    debugger.close()
    return Figure(Spread.of(times), "s", {HEADLESS: Spread.of(ratios), RATE: Spread.of(rates)})


def long_prompt(setup: Setup, environment: dict[str, str | None]) -> Iterator[tuple[str, Figure]]:
    """Steps and searches over a long prompt, in turns with the same over a short one; a model of 3 tiny layers."""
    sentence = "The quick brown fox jumps over the lazy dog. "
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = write_tiny_folder(Path(scratch) / "tiny", context=40_000)
        programs = []
        for length in (30 if setup.quick else 2_200, 1):
            text = Path(scratch) / f"{length}.txt"
            text.write_text(sentence * length, encoding="utf-8")
            options = (str(folder), "--greedy", "--prompt-file", str(text), "-n", "200")
            programs.append(stack.enter_context(started(options, MIDDLE, environment)))
        for program in programs:
            program.wait_for("embed", 180)
            program.send("t")
            program.wait_for("· sample", 180)
            program.read(1.0)
            program.drawing = False
        long, short = programs
        sizes = []

        def step() -> float:
            milliseconds, size = press(long, "s")
            sizes.append(size)
            return milliseconds

        count = setup.times(40)
        times, _, ratios = pairs(step, lambda: press(short, "s")[0], count)
        yield LONG_STEP, Figure(Spread.of(times), "ms", {SHORT: Spread.of(ratios), BYTES: Spread.of(sizes)})
        for program in programs:
            press(program, "/")
        typed = {program: iter(sentence) for program in programs}
        times, _, ratios = pairs(
            lambda: press(long, next(typed[long]))[0], lambda: press(short, next(typed[short]))[0], setup.times(20)
        )
        yield LONG_SEARCH, Figure(Spread.of(times), "ms", {SHORT: Spread.of(ratios)})
