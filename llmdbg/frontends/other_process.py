"""A process of its own that runs a model under another Python: run as a program by `references/process.py`.

The program is this file, and llmdbg is the one that this file belongs to: that Python needs the packages that a model
needs, and no llmdbg of its own. It splits in two. One half does the job: it reads what it is to do from stdin, and
answers on stdout, in lines of JSON. The other keeps it: when llmdbg ends, however it does, it kills that half with all
that it has started, and removes the folder.
"""

import os
import select
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path

_NEEDED = ("torch", "transformers", "safetensors", "numpy", "msgspec", "greenlet", "psutil", "accelerate")
_OLDEST = (3, 11)
_STDIN, _STDOUT = 0, 1


def main() -> None:
    """Split, and do the job."""
    folder, life = sys.argv[1], int(sys.argv[2])
    # Python puts the folder of a program in front of the path, and this one's has modules of llmdbg's.
    if sys.path and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
        del sys.path[0]
    _split(folder, life)
    answers, questions = os.dup(_STDOUT), os.dup(_STDIN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for each in (_STDIN, _STDOUT):
        os.dup2(nothing, each)
    try:
        if not (why := _lacking()):
            _find_llmdbg()
            from llmdbg.frontends.other_process_jobs import work

            work(questions, answers)
    except ModuleNotFoundError as error:
        why = _missing([str(error.name).partition(".")[0]])
    # A model's own code may call `exit()`.
    except BaseException as error:
        why = f"{type(error).__name__}: {error}"
    if why:
        _fail(answers, f"{sys.executable} cannot do it: {why}")
    # Nothing of what was imported has anything to tidy up.
    os._exit(0)


def _split(folder: str, life: int) -> None:
    """Return in a process of its own, which this one keeps."""
    done, working = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.setpgid(0, 0)
        os.close(done)
        os.close(life)
        # `working` stays open: that it is closed says that the process has ended.
        return
    os.close(working)
    # Nobody is to wait for the other ends of these.
    for each in (_STDIN, _STDOUT):
        os.close(each)
    ready = select.select([life, done], [], [])[0]
    for kill in (os.killpg, os.kill):
        with suppress(OSError):
            kill(worker, signal.SIGKILL)
    status = os.waitpid(worker, 0)[1]
    if life in ready:
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))


def _lacking() -> str:
    """What this Python lacks; empty if nothing."""
    if sys.version_info < _OLDEST:
        return f"it is Python {sys.version_info[0]}.{sys.version_info[1]}, and llmdbg needs 3.11"
    from importlib.util import find_spec

    missing = [each for each in _NEEDED if find_spec(each) is None]
    return _missing(missing) if missing else ""


def _missing(names: "list[str]") -> str:
    return f"it has no {' and no '.join(names)}: {sys.executable} -m pip install {' '.join(names)}"


def _find_llmdbg() -> None:
    """Make `llmdbg` the package of this file, and nothing else that lies beside it importable."""
    from importlib.util import module_from_spec, spec_from_file_location

    here = Path(__file__).resolve().parents[1]
    spec = spec_from_file_location("llmdbg", here / "__init__.py", submodule_search_locations=[str(here)])
    assert spec is not None and spec.loader is not None
    sys.modules["llmdbg"] = module = module_from_spec(spec)
    spec.loader.exec_module(module)


def _fail(answers: int, why: str) -> None:
    import json

    text = " ".join(why.split())[:600]
    with suppress(OSError):
        os.write(answers, json.dumps({"type": "failed", "why": text}).encode() + b"\n")


if __name__ == "__main__":
    main()
