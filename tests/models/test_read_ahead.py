"""Which weight files are read ahead."""

import os
import threading
from pathlib import Path

import pytest

from llmdbg.models import demo, read_ahead
from llmdbg.models.spec import ModelSpec


@pytest.fixture
def advised(monkeypatch):
    """The files whose bytes were asked for, with how many."""
    seen: dict[str, int] = {}

    def advise(descriptor, start, length, advice):
        assert advice == os.POSIX_FADV_WILLNEED
        name = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        assert start == seen.get(name, 0)
        seen[name] = start + length

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return seen


def wait():
    for thread in threading.enumerate():
        if thread.name == "llmdbg-read-ahead":
            thread.join(10)


def test_all_bytes_of_a_folders_weights_are_asked_for(tmp_path, advised, monkeypatch):
    monkeypatch.setattr(read_ahead, "_AT_ONCE", 64)
    for name in ("model-1.safetensors", "model-2.safetensors", "model.bin"):
        (tmp_path / name).write_bytes(bytes(150))
    read_ahead.read_ahead(ModelSpec(str(tmp_path)))
    wait()
    assert advised == {str(tmp_path / f"model-{at}.safetensors"): 150 for at in (1, 2)}


def test_random_weights_and_what_is_not_there_need_none(tmp_path, advised):
    (tmp_path / "model.safetensors").write_bytes(bytes(150))
    read_ahead.read_ahead(ModelSpec(str(tmp_path), random_weights=True))
    for name in ("nobody/nothing", str(tmp_path / "none"), "x" * 5000, "a\0b", "~nobody-here/x"):
        read_ahead.read_ahead(ModelSpec(name))
    wait()
    assert advised == {}


def test_a_gguf_file_and_the_demo_model_once_it_is_converted(tmp_path, monkeypatch):
    gguf = tmp_path / "model.gguf"
    gguf.write_bytes(b"GGUF")
    assert read_ahead.weights_at_hand(str(gguf)) == [gguf]

    monkeypatch.setattr(demo, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(demo, "demo_file", lambda: gguf)
    assert read_ahead.weights_at_hand("smollm2") == []
    folder = tmp_path / f"{demo.NAME}-4-1"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    assert read_ahead.weights_at_hand("smollm2") == [folder / "model.safetensors"]
