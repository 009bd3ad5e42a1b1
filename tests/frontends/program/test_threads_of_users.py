"""Programs that call their models in threads of their own: stopped there, one at a time, and nothing hangs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.frontends.program.forks import Done, Forks
from tests.frontends.program.test_programs_of_users import assert_same, both, stops

pytestmark = pytest.mark.untraced

_BEGINS = """\
import queue, random, sys, threading, time
import torch
from tiny_models import bits, llama
model, ids = llama(), torch.tensor([[5, 17, 33]])
"""
_MODES = f"""{_BEGINS}
def work():
    torch.manual_seed(3)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        for _ in range(2):
            out = model(ids).logits
            print(bits(out), out.dtype, torch.rand(2).tolist(), random.random())
            print(torch.is_inference_mode_enabled(), torch.is_autocast_enabled("cpu"), torch.is_grad_enabled())
    print(torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"), bits(model(ids).logits.grad_fn is None and ids))
random.seed(1)
thread = threading.Thread(target=work)
with torch.no_grad():
    thread.start()
    thread.join(60)
    print(torch.is_grad_enabled(), torch.is_autocast_enabled("cpu"))
"""
_TWO_AT_ONCE = f"""{_BEGINS}
found = {{}}
def work(name, ids):
    together.wait()
    found[name] = [bits(model(ids + at).logits) for at in range(3)]
together = threading.Barrier(2)
threads = [threading.Thread(target=work, args=(at, ids + 10 * at), name=f"worker-{{at}}") for at in range(2)]
[each.start() for each in threads]
[each.join() for each in threads]
print(sorted(found.items()))
"""
_SERVER = f"""{_BEGINS}
asked, answers = queue.Queue(), queue.Queue()
def serve():
    while True:
        answers.put(bits(model(asked.get()).logits))
threading.Thread(target=serve).start()
try:
    for at in range(3):
        asked.put(ids + at)
        print(answers.get(timeout=60), flush=True)
    time.sleep(0 if "ends" in sys.argv else 60)
    if "ends" in sys.argv:
        sys.stdout.flush()
        import os
        os._exit(3)
finally:
    print("finally", flush=True)
"""
_NOBODY_WAITS = f"""{_BEGINS}
def work():
    time.sleep(0.2)
    print(bits(model(ids).logits), flush=True)
    print(bits(model(ids + 1).logits), flush=True)
threading.Thread(target=work).start()
print("the main thread is done", flush=True)
"""
_WAITS_FOR_THE_OTHER = f"""{_BEGINS}
class Asks(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.linear = llama(), torch.nn.Linear(2, 2)
    def forward(self, x):
        found = []
        thread = threading.Thread(target=lambda: found.append(bits(model(ids).logits)))
        thread.start()
        thread.join()
        return found[0]
model(ids)
print(Asks()(torch.ones(2)))
print(bits(model(ids).logits))
"""
_FAILS = f"""{_BEGINS}
def work():
    try:
        model(torch.tensor([[500]]))
    except IndexError as error:
        print("caught", error)
    model(torch.tensor([[501]]))
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(bits(model(ids).logits))
"""


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    server = Forks()
    yield server
    server.close()


def written(folder: Path, text: str) -> str:
    path = folder / "p.py"
    path.write_text(text)
    return str(path)


def debugged(forks: Forks, folder: Path, text: str, commands: list[str], *more: str) -> Done:
    ours = ["--batch", *(word for each in commands for word in ("-ex", each))]
    return forks.run("llmdbg", [*ours, written(folder, text), *more], folder / "debugged")


@pytest.mark.slow
@pytest.mark.parametrize(
    "commands",
    [
        ["break 1.mlp", *["continue"] * 8],
        ["step 4", "set depth op", "step 3", "set depth line", "step 3", "set depth module", "step", "continue"],
        ["trace *.mlp", "until logits", "print out.sum()", "print torch.rand(3)", "info locals", "bt", "continue"],
    ],
)
def test_modes_and_random_numbers_are_those_of_the_forwards_thread(
    commands: list[str], forks: Forks, tmp_path: Path
) -> None:
    alone, done, events = both(forks, tmp_path, [written(tmp_path, _MODES)], commands)
    assert_same(alone, done)
    assert len(stops(events)) > 3
    assert "stopped in thread Thread-1 (work)" in done.err


@pytest.mark.slow
def test_two_at_once_take_turns(forks: Forks, tmp_path: Path) -> None:
    commands = ["break 1.mlp", *["continue"] * 7]
    alone, done, events = both(forks, tmp_path, [written(tmp_path, _TWO_AT_ONCE)], commands)
    assert_same(alone, done)
    assert stops(events) == [*(f"1.mlp@{at}" for at in range(6)), "sample@5"]
    assert "stopped in thread worker-0" in done.err and "stopped in thread worker-1" in done.err
    assert "waits for this forward" in done.err


@pytest.mark.slow
def test_an_edit_in_a_thread_is_that_forwards_own(forks: Forks, tmp_path: Path) -> None:
    commands = ["until 1.mlp", "edit out * 0", "info stats", "break 0", "continue", "undo", "delete", "continue"]
    alone, done, _ = both(forks, tmp_path, [written(tmp_path, _TWO_AT_ONCE)], commands)
    assert done.code == 0 and "96 of 96 values of 1.mlp changed" in done.err
    without, edited = (re.findall("'(\\w{16})'", each.out) for each in (alone, done))
    assert len(without) == 6 and sum(one != other for one, other in zip(without, edited, strict=True)) == 1


@pytest.mark.parametrize("ends", [[], ["ends"]])
def test_a_server_that_never_ends_is_left_by_quit_or_ends_itself(ends: list[str], forks: Forks, tmp_path: Path) -> None:
    commands = ["break 1.mlp", *["continue"] * (8 if ends else 2), *([] if ends else ["quit"])]
    done = debugged(forks, tmp_path, _SERVER, commands, *ends)
    assert done.code == (3 if ends else 0)
    assert len([each for each in done.out.splitlines() if " 1.mlp " in each and each.startswith("breakpoint 1  ")]) == (
        3 if ends else 2
    )
    assert ("finally" in done.err) is not bool(ends)
    assert "Traceback" not in done.err


@pytest.mark.slow
def test_a_program_whose_main_thread_is_done_is_stopped_in_its_others(forks: Forks, tmp_path: Path) -> None:
    commands = ["break 1.mlp", *["continue"] * 3]
    alone, done, events = both(forks, tmp_path, [written(tmp_path, _NOBODY_WAITS)], commands)
    assert_same(alone, done)
    assert stops(events) == ["1.mlp@0", "1.mlp@1", "sample@1"]


@pytest.mark.slow
def test_a_forward_that_waits_for_another_threads_gets_it(forks: Forks, tmp_path: Path) -> None:
    commands = ["break 1.mlp", "break logits", *["continue"] * 5]
    alone, done, _ = both(forks, tmp_path, [written(tmp_path, _WAITS_FOR_THE_OTHER)], commands)
    assert_same(alone, done)
    assert "runs on without a stop, while the forward of the main thread makes no headway" in done.err


@pytest.mark.slow
def test_an_exception_in_a_thread_is_a_stop_and_goes_its_way(forks: Forks, tmp_path: Path) -> None:
    alone, done, events = both(forks, tmp_path, [written(tmp_path, _FAILS)], ["break 1.mlp", *["continue"] * 5])
    assert (done.out, done.code) == (alone.out, alone.code)
    assert stops(events)[:3] == ["embed@0", "embed@1", "1.mlp@2"]
    assert done.err.count("IndexError") == alone.err.count("IndexError")


@pytest.mark.slow
def test_quit_ends_a_thread_without_a_word(forks: Forks, tmp_path: Path) -> None:
    done = debugged(forks, tmp_path, _MODES, ["until 1.mlp", "quit"])
    assert done.code == 0
    assert "Traceback" not in done.err and "Exception" not in done.err
