"""What the screen imports before its first frame."""

import subprocess
import sys

import pytest

NOT_YET = {
    "torch",
    "transformers",
    "tokenizers",
    "huggingface_hub",
    "numpy",
    "filelock",
    "psutil",
    "llmdbg.debugger.commands",
    "llmdbg.debugger.persistence",
    "llmdbg.models.loading",
}
NEVER = {"transformers.trainer_utils", "peft", "bitsandbytes", "sklearn", "scipy", "pandas", "matplotlib"}


def test_nothing_is_imported_that_the_first_frame_can_do_without():
    program = (
        "import sys\nimport llmdbg.cli\nimport llmdbg.frontends.tui.start\nimport llmdbg.frontends.tui.app\n"
        f"print(sorted({NOT_YET!r} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


@pytest.mark.slow
def test_what_only_training_needs_is_not_imported_at_all(tiny_folder):
    program = (
        "import sys\n"
        "from llmdbg.debugger.debugger import Debugger\n"
        "from llmdbg.engine.settings import GenerationSettings\n"
        "from llmdbg.frontends.opening import open_generation\n"
        "from llmdbg.models.spec import ModelSpec\n"
        "told = []\n"
        f"opened = open_generation(ModelSpec({str(tiny_folder)!r}), 'fox', GenerationSettings(),"
        " chat=False, system=None, report=lambda each: told.append((each.stage, len(sys.modules))))\n"
        "Debugger(opened).close()\n"
        f"print(sorted({NEVER!r} & set(sys.modules)))\n"
        "print(len(sys.modules) - next(count for stage, count in told if stage == 'looking for the model'))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    imported, later = told.stdout.splitlines()
    assert imported == "[]"
    assert int(later) < 150, "what is large is imported in the step that says so"
