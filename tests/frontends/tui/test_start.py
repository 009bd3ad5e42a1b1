"""What the screen imports before its first frame."""

import subprocess
import sys

NOT_YET = {"torch", "transformers", "numpy", "filelock", "llmdbg.debugger.commands", "llmdbg.debugger.persistence"}


def test_nothing_is_imported_that_the_first_frame_can_do_without():
    program = (
        "import sys\nimport llmdbg.cli\nimport llmdbg.frontends.tui.start\nimport llmdbg.frontends.tui.app\n"
        f"print(sorted({NOT_YET!r} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
