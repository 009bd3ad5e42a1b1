"""A reference in a real second process: it follows to the same stage, and what happens to it happens to it alone."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmdbg.debugger.comparison.beside import ReferenceRun
from llmdbg.debugger.comparison.references.elsewhere import RunElsewhere
from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.execution.stop import ComparedBy
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import GenerationError, UsageError
from llmdbg.frontends.opening import prepare_generation
from llmdbg.frontends.other_runs import open_other
from llmdbg.models.loading import load
from llmdbg.models.spec import ModelSpec
from tests.frontends.prompts.groups import members
from tests.sessions import do

PYTHON = f"--python {sys.executable}"
SETTINGS = GenerationSettings(max_new_tokens=4, temperature=1.3, seed=7)


def _session(folder: Path, settings: GenerationSettings = SETTINGS) -> Debugger:
    loaded = load(ModelSpec(str(folder)), lambda _: None, lambda *_: None)
    debugger = Debugger(prepare_generation(loaded, "Hello there", settings, chat=False, system=None))
    debugger.other_runs = open_other
    return debugger


@pytest.fixture(scope="module")
def beside(tiny_folder: Path) -> Iterator[tuple[Debugger, RunElsewhere]]:
    """A sampled run, and the same model in another process, which is what takes long."""
    debugger = _session(tiny_folder)
    said = do(debugger, f"reference {tiny_folder} {PYTHON}").data
    assert said.startswith("now beside this run, in another process: transformers 5.")
    assert said.endswith(", float32")
    assert isinstance(debugger.run.reference, ReferenceRun)
    source = debugger.run.reference.source
    assert isinstance(source, RunElsewhere)
    yield debugger, source
    debugger.close()
    assert not source._process.folder.exists()


def test_a_copy_is_bitwise_the_same_at_every_stage(beside: tuple[Debugger, RunElsewhere]) -> None:
    """Whichever way the run goes, and by itself too; nothing is left in its folder, which is private."""
    debugger, source = beside
    seen = alone = 0
    do(debugger, "run", "goto tokenize@0")
    for line in ["step"] * 30 + ["token", "next", "reverse-next", "step", "reverse-token", "goto 1.mlp@2", "step"]:
        stop = do(debugger, line).stop
        if stop.beside is not None:
            seen += 1
            alone += stop.beside.by_itself == 0
            assert (stop.beside.equal, stop.beside.lost, stop.beside.by) == (True, "", ComparedBy.VALUES), stop
    assert seen > 30
    assert alone > 20
    assert not [each for each in source._folder.iterdir() if each.suffix == ".safetensors"]
    assert source._process.folder.stat().st_mode & 0o777 == 0o700


def test_a_run_with_a_reference_is_bitwise_one_without(
    beside: tuple[Debugger, RunElsewhere], tiny_folder: Path
) -> None:
    """Sampled tokens included, with every stage compared in passing."""
    debugger, _ = beside
    alone = _session(tiny_folder)
    do(alone, "continue")
    do(debugger, "run", "goto tokenize@0", "break * if apart > 1e9", "break diverged", "continue")
    assert debugger.end is not None and alone.end is not None
    assert debugger.end.ids == alone.end.ids
    assert debugger.debuggee.timeline.fingerprints() == alone.debuggee.timeline.fingerprints()
    do(debugger, "delete")
    alone.close()


def test_another_text_is_followed_and_values_are_taken(beside: tuple[Debugger, RunElsewhere]) -> None:
    """A forced token is read there too, and a graft is bitwise what is here already."""
    debugger, _ = beside
    do(debugger, "goto sample@0", "force 9", "token", "step")
    assert debugger.stop.beside is not None
    assert debugger.stop.beside.equal
    do(debugger, "graft 1.mlp from reference", "until 1.mlp")
    assert not any(each.changed for each in debugger.run.edits.counted(1))
    do(debugger, "undo")


@pytest.mark.slow
def test_faults_and_rounding_are_told_apart(tiny_folder: Path) -> None:
    """A copy in bfloat16 diverges nowhere; it dies, which is said in one line, and the run goes on."""
    debugger = _session(tiny_folder, GenerationSettings(max_new_tokens=3, greedy=True))
    do(debugger, f"reference {tiny_folder} --dtype bfloat16 {PYTHON}", "break diverged", "until 1.mlp")
    near = debugger.stop.beside
    assert near is not None and near.apart is not None
    assert 1e-4 < near.apart < 0.1
    assert isinstance(debugger.run.reference, ReferenceRun)
    source = debugger.run.reference.source
    assert isinstance(source, RunElsewhere)
    for process in _started_by(source._process._process.pid):
        os.kill(process, signal.SIGKILL)
    lost = do(debugger, "step").stop.beside
    assert lost is not None and lost.apart is None
    assert lost.lost.endswith("was killed, as happens where memory runs out")
    assert "was killed" in do(debugger, "reference").data
    do(debugger, "continue")
    assert debugger.end is not None
    assert len(debugger.end.ids) == 3
    assert not source._process.folder.exists()
    debugger.close()


def _started_by(parent: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


@pytest.mark.parametrize(
    ("text", "error", "says"),
    [
        ("FOLDER --python /nowhere/python", UsageError, "--python takes the path of an interpreter"),
        ("FOLDER --python '' ", UsageError, "--python takes the path of an interpreter"),
        ("FOLDER --python /bin/true", GenerationError, "/bin/true ended by itself (exit code 0)"),
        ("FOLDER --python BARE", GenerationError, "it has no torch and no transformers"),
        (f"/nowhere/model {PYTHON}", GenerationError, "there is no folder or file /nowhere/model"),
    ],
)
def test_what_cannot_be_opened_there_is_said_in_a_line(
    tiny_folder: Path, tmp_path: Path, text: str, error: type[Exception], says: str
) -> None:
    """And the run here stands where it was."""
    import venv

    bare = tmp_path / "bare"
    if "BARE" in text:
        venv.create(bare)
    debugger = _session(tiny_folder)
    where = do(debugger, "step").stop
    with pytest.raises(error) as raised:
        do(debugger, f"reference {text}".replace("FOLDER", str(tiny_folder)).replace("BARE", str(bare)))
    assert says in str(raised.value)
    assert "\n" not in str(raised.value)
    assert debugger.reference_name == ""
    assert do(debugger, "reverse-step", "step").stop.stage == where.stage
    debugger.close()


def test_the_other_process_ends_with_this_one(tmp_path: Path) -> None:
    """However that ends: its folder and all that it has started are gone."""
    import subprocess
    import time

    from llmdbg.frontends import other_process

    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from llmdbg.debugger.comparison.references.process import OtherProcess\n"
        f"process = OtherProcess({sys.executable!r}, Path({other_process.__file__!r}))\n"
        "print(process.folder, process._process.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    root = Path(__file__).parents[4]
    parent = subprocess.Popen((sys.executable, "-c", program), stdout=subprocess.PIPE, text=True, cwd=root)
    assert parent.stdout is not None
    folder, keeper = parent.stdout.readline().split()
    while not (workers := _started_by(int(keeper))):
        time.sleep(0.01)
    assert Path(folder).is_dir()
    parent.kill()
    parent.wait()
    parent.stdout.close()
    until = time.monotonic() + 30
    while time.monotonic() < until and (Path(folder).exists() or members(workers[0]) or members(int(keeper))):
        time.sleep(0.05)
    assert not Path(folder).exists()
    assert members(workers[0]) == members(int(keeper)) == []
