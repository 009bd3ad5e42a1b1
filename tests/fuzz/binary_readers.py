"""The readers of binary files under atheris, which keeps every input that reaches a line no other has reached.

    python -m tests.fuzz.binary_readers gguf|safetensors [-runs=100000]

Takes libFuzzer's options. Fails on any exception but our one-line refusals, beyond 20 s an input, and beyond 4 GiB. Not
collected by pytest: atheris instruments what it imports, and ends the process itself. `make fuzz` runs it.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["llmdbg.models.checkpoints", "llmdbg.models.gguf_files", "gguf"]):
    from llmdbg.models.checkpoints import tensors
    from llmdbg.models.gguf_files import inspect_gguf

from tests.fuzz.inputs import gguf_file, safetensors_file
from tests.fuzz.watch import refused_or

READERS = {"gguf": (inspect_gguf, gguf_file), "safetensors": (tensors, safetensors_file)}
_LIMITS = ("-timeout=20", "-rss_limit_mb=4096", "-max_len=8192")


def main() -> None:
    """Fuzz one reader until libFuzzer's `-runs` are done."""
    name, *options = sys.argv[1:]
    read, valid = READERS[name]
    with tempfile.TemporaryDirectory() as scratch:
        corpus, path = Path(scratch) / "corpus", Path(scratch) / f"model.{name}"
        corpus.mkdir()
        valid(corpus / "valid")

        def try_one(data: bytes) -> None:
            path.write_bytes(data)
            refused_or(lambda: read(path))

        atheris.Setup([sys.argv[0], *_LIMITS, *options, str(corpus)], try_one)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
