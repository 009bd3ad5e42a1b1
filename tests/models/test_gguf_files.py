"""GGUF files that cannot be read."""

import struct
import time

import gguf
import numpy as np
import pytest

from llmdbg.errors import (
    DamagedFileError,
    ModelRequestError,
)
from llmdbg.models import demo
from llmdbg.models.gguf_header import check_header
from tests.models.refusals import refusal


def write_gguf(path, architecture):
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_tensor("a", np.zeros((4, 4), dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_of_another_architecture(tmp_path):
    assert "'rwkv6'" in refusal(write_gguf(tmp_path / "a.gguf", "rwkv6"), ModelRequestError)


@pytest.mark.parametrize("keep", [0, 4, 1000, 0.5])
def test_a_truncated_gguf(tmp_path, keep):
    whole = demo.demo_file().read_bytes()
    path = tmp_path / "a.gguf"
    path.write_bytes(whole[: int(len(whole) * keep) if isinstance(keep, float) else keep])
    refusal(path, DamagedFileError)


def text(value):
    return struct.pack("<Q", len(value)) + value


def number(name, value, code="<Q", kind=10):
    return text(name) + struct.pack("<I", kind) + struct.pack(code, value)


def header(*entries, tensors=0, count=None, rest=b""):
    count = len(entries) if count is None else count
    return b"GGUF" + struct.pack("<IQQ", 3, tensors, count) + b"".join(entries) + rest


ARRAY = text(b"a") + struct.pack("<I", 9)
ARCHITECTURE = text(b"general.architecture") + struct.pack("<I", 8) + text(b"llama")


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (header(count=2**60), "it counts"),
        (header(tensors=2**60), "it counts"),
        (header(text(b"x" * 70_000)), "a name of 70000 bytes"),
        (header(ARRAY + struct.pack("<IQ", 5, 2**60)), "ends within its header"),
        (header(ARRAY + struct.pack("<IQ", 8, 2**60)), "ends within its header"),
        (header(ARRAY + struct.pack("<IQ", 9, 2**60)), "an entry of type 9"),
        (header(text(b"a") + struct.pack("<I", 77)), "an entry of type 77"),
        (header(text(b"a") + struct.pack("<IQ", 8, 2**63)), "ends within its header"),
        (header(number(b"llama.block_count", 10**8)), "llama.block_count is 100000000"),
        (header(number(b"llama.embedding_length", 2**40)), "llama.embedding_length is"),
        (header(tensors=1, rest=text(b"t") + struct.pack("<I", 2**31)), "dimensions"),
        (header(tensors=1, rest=text(b"t") + struct.pack("<IQQ", 2, 2**40, 2**40)), "values"),
    ],
)
def test_a_header_that_asks_for_too_much(tmp_path, written, said):
    path = tmp_path / "a.gguf"
    path.write_bytes(written)
    began = time.monotonic()
    assert said in refusal(path, DamagedFileError)
    assert time.monotonic() - began < 5


def test_a_seed_and_a_date_may_be_any_number(tmp_path):
    path = tmp_path / "a.gguf"
    entries = (number(b"general.date", 2**60), number(b"tokenizer.seed", 2**60), ARCHITECTURE)
    path.write_bytes(header(*entries) + b"\0" * 64)
    check_header(path)


def test_the_demo_model_and_a_written_file_pass(tmp_path):
    path = demo.demo_file()
    assert path is not None
    check_header(path)
    check_header(write_gguf(tmp_path / "a.gguf", "llama"))
