"""Killed at random moments, from the start to the end: what was done is there, and the terminal is as it was.

Few kills in every test run, and as many as `LLMDBG_FAULTS` says with `make faults`; `LLMDBG_SEED` chooses the moments.
Each leaves a line in the file that `LLMDBG_FIGURES` names: the signal, the seconds after the start (or after `q`), how
many commands were done, and whether llmdbg was still there.
"""

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

from llmdbg import open_session
from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.model import begin
from llmdbg.debugger.persistence.restore import restore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import LlmdbgError
from llmdbg.models.spec import ModelSpec
from tests.faults.programs import ENTERED, Doomed

KILLS = int(os.environ.get("LLMDBG_FAULTS", "4"))
SEED = int(os.environ.get("LLMDBG_SEED", "1"))
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
PROMPT, TOKENS = "The quick brown fox", 40
COMMANDS = (
    "break 1 if norm > 1000",
    "break logits",
    "goto 1@2",
    "zero 0.mlp at last",
    "goto sample@4",
    "force 70",
    "disable 2",
    "goto sample@6",
    "force 71",
    "goto 2@7",
    "scale 2 0.5",
    "switch main",
    "break 0.mlp",
    "goto norm@3",
    "delete 1",
    "goto sample@5",
)


def facts(saved):
    """What must not be lost."""
    return {
        "breakpoints": [(each.number, each.address, each.condition, each.enabled) for each in saved.breakpoints],
        "branches": [
            (each.number, each.name, each.parent, each.fork, [edit.line for edit in each.edits], each.choices)
            for each in saved.branches
        ],
        "branch": saved.branch,
        "place": (saved.place.address, saved.place.token),
        "generated": saved.generated,
    }


def is_under_way(now, before, after):
    """Whether a command was on its way, and its newest token saved."""
    unchanged = all(now[name] == before[name] for name in ("breakpoints", "branches", "branch"))
    return unchanged and now["generated"] == after["generated"][: len(now["generated"])]


def opened(folder):
    return open_session(str(folder), PROMPT, max_new_tokens=TOKENS, greedy=True, device="cpu")


@pytest.fixture(scope="module")
def expected(tiny_folder):
    """The facts after each command; the first of them before any."""
    with opened(tiny_folder) as session:
        empty = begin(ModelSpec(str(tiny_folder)), PROMPT, GenerationSettings(max_new_tokens=TOKENS, greedy=True))
        states = [facts(capture(session.debugger, empty))]
        for line in COMMANDS:
            session.do(line)
            states.append(facts(capture(session.debugger, empty)))
        return states


def live(doomed, seconds):
    """Type one command after another, each followed by a sign that it is done, for some seconds; then leave."""
    end = time.monotonic() + seconds
    sent = 0
    while time.monotonic() < end:
        if sent < len(COMMANDS) and (f"'done{sent}'".encode() in doomed.received or sent == 0):
            if ENTERED not in doomed.received or b"tokenize" not in doomed.received:
                doomed.read(0.01)
                continue
            sent += 1
            doomed.send(f":{COMMANDS[sent - 1]}\r:print 'done{sent}'\r")
        elif sent == len(COMMANDS) and f"'done{sent}'".encode() in doomed.received:
            doomed.send("q")
            doomed.read(max(0.0, end - time.monotonic()))
            return
        doomed.read(0.01)


def done(doomed):
    """How many commands were seen to be done, and so must be there again."""
    return max((n for n in range(len(COMMANDS) + 1) if f"'done{n}'".encode() in doomed.received), default=0)


def noted(kind, seconds, commands, status):
    """Leave the figures of a kill."""
    if "LLMDBG_FIGURES" in os.environ:
        with Path(os.environ["LLMDBG_FIGURES"]).open("a") as figures:
            figures.write(f"{kind.name} {seconds:.3f} {commands} {'left' if status == 0 else 'killed'}\n")


@pytest.mark.slow
@pytest.mark.parametrize("number", range(KILLS // 2))
def test_killed_while_leaving(nursery, tiny_folder, tmp_path, number):
    chance = random.Random(1000 * SEED + number)
    kind, seconds = SIGNALS[number % len(SIGNALS)], chance.uniform(0, 0.25)
    with Doomed(nursery, tmp_path, str(tiny_folder), "-p", PROMPT, "-n", str(TOKENS), "--greedy") as doomed:
        doomed.read_until(b"tokenize")
        doomed.send(f":{COMMANDS[0]}\r:print 'done1'\r")
        doomed.read_until(b"'done1'")
        doomed.send("q")
        doomed.read(seconds)
        with suppress(ProcessLookupError):
            doomed.kill(kind)
        status = doomed.wait()
        noted(kind, seconds, 1, status)
        assert doomed.settled(), f"the terminal is left raw: {doomed.received[-300:]!r}"
        assert status in (-kind, 128 + kind, 0)
        saved = doomed.session()
    assert saved is not None
    assert len(saved.breakpoints) == 1


@pytest.mark.parametrize("number", range(KILLS))
def test_what_was_done_is_there_after_a_kill(nursery, tiny_folder, expected, tmp_path, number):
    chance = random.Random(1000 * SEED + number)
    kind = SIGNALS[number % len(SIGNALS)]
    # A run from the start to the end takes some four seconds here; a third of the kills are to meet the leaving.
    seconds = chance.uniform(0, 2.5) if number % 3 else chance.uniform(2.5, 5)
    with Doomed(nursery, tmp_path, str(tiny_folder), "-p", PROMPT, "-n", str(TOKENS), "--greedy") as doomed:
        live(doomed, seconds)
        with suppress(ProcessLookupError):
            doomed.kill(kind)
        status = doomed.wait()
        noted(kind, seconds, done(doomed), status)
        assert doomed.settled(), f"the terminal is left raw: {doomed.received[-300:]!r}"
        assert status in (-kind, 128 + kind, 0), doomed.received[-2000:]
        saved, seen = doomed.session(), done(doomed)

    if saved is None:
        assert seen == 0, "a command was done, and nothing is saved"
        return
    now = facts(saved)
    fitting = [n for n, each in enumerate(expected) if each == now]
    assert max(fitting, default=-1) >= seen or is_under_way(now, expected[seen], expected[seen + 1]), now
    with opened(tiny_folder) as session:
        restore(session.debugger, saved)
        assert facts(capture(session.debugger, saved)) == now
        with suppress(LlmdbgError):
            session.do("continue")
