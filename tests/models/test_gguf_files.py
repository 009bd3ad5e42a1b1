"""GGUF files that cannot be read."""

import gguf
import numpy as np
import pytest

from llmdbg.errors import (
    DamagedFileError,
    ModelRequestError,
)
from llmdbg.models import demo
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
