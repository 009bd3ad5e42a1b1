"""A recording from anywhere: damaged, lying or hostile, it costs one line, and what lies before the damage is read."""

from __future__ import annotations

import json
import os
import resource
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmdbg.errors import TraceError
from llmdbg.traces.reader import Trace
from llmdbg.traces.tensor_files import KEEPS
from tests.recordings import record, tiny_generation


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings") / "sound"
    record(tiny_generation(temperature=0.8), folder, KEEPS["all"])
    return folder


@pytest.fixture
def run(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "run"))


def read_everything(folder: Path) -> int:
    """Read a whole recording. Returns how many outputs it has."""
    trace = Trace.open(folder)
    count = 0
    for token in range(len(trace.tokens) + 1):
        if token < len(trace.tokens):
            assert trace.tokens[token].index == token
        for each in trace.stages(token):
            assert each.sketch is not None and each.position_hashes is not None
            for name in each.tensors:
                trace.tensor(token, each.address, name)
            count += 1
    return count


def _refused(folder: Path, *words: str) -> None:
    with pytest.raises(TraceError) as caught:
        read_everything(folder)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 600
    assert all(word in said for word in words), said


def test_a_sound_one_is_read(run: Path) -> None:
    assert read_everything(run) > 100


def _changed(path: Path, change: Callable[[Any], Any]) -> None:
    document = json.loads(path.read_text())
    path.write_text(json.dumps(change(document) or document))


_HEADERS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "no object": (lambda _: [1], "format"),
    "no format": (lambda each: each.pop("format"), "format"),
    "a text for a format": (lambda each: each.update(format="1"), "format"),
    "a newer format": (lambda each: each.update(format=2), "newer"),
    "no stages": (lambda each: each.pop("stages") and None, "stages"),
    "stages of another type": (lambda each: each.update(stages=7), "stages"),
    "an unknown kind": (lambda each: each["stages"][0].update(kind="soup"), "kind"),
    "an address twice": (lambda each: each["stages"].append(each["stages"][0]), "twice"),
    "no rows in a file": (lambda each: each.update(rows_per_shard=0), "rows_per_shard"),
    "too many rows in a file": (lambda each: each.update(rows_per_shard=2**60), "rows_per_shard"),
    "a number that is none": (lambda each: each.update(threads="many"), "threads"),
    "ids that are texts": (lambda each: each["prompt"].update(ids=["a"]), "ids"),
}


@pytest.mark.parametrize("what", sorted(_HEADERS))
def test_a_header_that_makes_no_sense(what: str, run: Path) -> None:
    change, word = _HEADERS[what]

    def changed(document: dict[str, Any]) -> Any:
        found = change(document)
        return found if isinstance(found, list) else None

    _changed(run / "trace.json", changed)
    _refused(run, "trace.json", word)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ('{"format": 1, "format": 1}', "twice"),
        ('{"format": 1, "threads": NaN}', "finite"),
        ('{"format": 1, "threads": 1e999}', "finite"),
        ("[" * 100_000, "nested"),
        ("", "JSON"),
        ('{"format": 1', "JSON"),
        ("\x00\xff", "JSON"),
    ],
)
def test_json_that_is_odd(text: str, word: str, run: Path) -> None:
    (run / "trace.json").write_text(text)
    _refused(run, "trace.json", word)
    (run / "trace.json").write_bytes(b'{"a": "\xff"}')
    _refused(run, "trace.json", "UTF-8")


@pytest.mark.parametrize("name", ["trace.json", "tokens.jsonl", "index.jsonl"])
@pytest.mark.parametrize("how", ["link", "folder", "pipe", "gone"])
def test_a_file_that_is_none(name: str, how: str, run: Path, tmp_path: Path) -> None:
    path = run / name
    elsewhere = tmp_path / "elsewhere"
    shutil.move(path, elsewhere)
    if how == "link":
        path.symlink_to(elsewhere)
    elif how == "folder":
        path.mkdir()
    elif how == "pipe":
        os.mkfifo(path)
    _refused(run, *([] if name == "trace.json" and how == "gone" else [name]))


@pytest.mark.parametrize("table", ["stages", "positions", "tensors"])
def test_a_linked_file_is_not_followed(table: str, run: Path, tmp_path: Path) -> None:
    path = next(run.glob(f"{table}-00000*"))
    shutil.move(path, tmp_path / "elsewhere")
    path.symlink_to(tmp_path / "elsewhere")
    _refused(run, path.name)


def _with_header(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    raw = path.read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    header = json.loads(raw[8 : 8 + length])
    change(header)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + raw[8 + length :])


_LIES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "a column is missing": lambda each: each.pop("hash"),
    "another dtype": lambda each: each["hash"].update(dtype="F64"),
    "an unknown dtype": lambda each: each["hash"].update(dtype="F1"),
    "a thousand million rows": lambda each: each["hash"].update(shape=[10**9]),
    "bytes beyond the end": lambda each: each["hash"].update(
        data_offsets=[10**9, 10**9 + 8 * each["hash"]["shape"][0]]
    ),
    "bytes before the start": lambda each: each["hash"].update(data_offsets=[-8, 0]),
    "offsets that are texts": lambda each: each["hash"].update(data_offsets=["0", "8"]),
    "rows that are true": lambda each: each["hash"].update(shape=[True], data_offsets=[0, 8]),
    "an entry that is none": lambda each: each.update(hash=7),
}


@pytest.mark.parametrize("what", sorted(_LIES))
@pytest.mark.parametrize("table", ["stages", "positions"])
def test_a_table_that_lies(what: str, table: str, run: Path) -> None:
    path = run / f"{table}-00000.safetensors"
    _with_header(path, _LIES[what])
    _refused(run, path.name)


def test_a_tensor_that_lies(run: Path) -> None:
    path = run / "tensors-00001.safetensors"
    _with_header(path, lambda each: each["1.mlp/output"].update(shape=[10**5, 10**5]))
    _refused(run, path.name)
    shutil.copy(run / "tensors-00000.safetensors", path)
    trace = Trace.open(run)
    assert trace.tensor(1, "1.mlp") is not None and trace.tensor(1, "../../etc/passwd") is None


def test_a_header_that_is_larger_than_memory(run: Path) -> None:
    path = run / "stages-00000.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40))
    os.truncate(path, 2**41)
    _refused(run, path.name)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8 * 2**20


def test_lines_larger_than_memory(run: Path) -> None:
    os.truncate(run / "tokens.jsonl", 2**40)
    _refused(run, "tokens.jsonl")


@pytest.mark.parametrize("table", ["stages-00000", "positions-00000", "tensors-00003"])
def test_a_truncated_file(table: str, run: Path) -> None:
    path = run / f"{table}.safetensors"
    size = path.stat().st_size
    for left in (0, 4, 100, size // 2, size - 1):
        os.truncate(path, left) if left < path.stat().st_size else None
    os.truncate(path, size // 2)
    _refused(run, path.name)


def test_what_lies_before_a_damaged_line_is_read(run: Path) -> None:
    path = run / "tokens.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    lines[2] = b"{oops}\n"
    path.write_bytes(b"".join(lines))
    trace = Trace.open(run)
    assert [trace.tokens[token].index for token in (0, 1)] == [0, 1] and trace.stages(1)
    with pytest.raises(TraceError, match=r"tokens\.jsonl is damaged in line 3"):
        trace.tokens[2]
    with pytest.raises(TraceError, match="line 3"):
        trace.stages(2)
    assert trace.stages(3)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"index": 7}, "index"),
        ({"first_row": -1}, "rows"),
        ({"rows": 10**9}, "rows"),
        ({"rows": 10**4}, "stages-00000"),
        ({"first_row": 0}, "no stage of token 1"),
        ({"first_row": 2**62}, "stages-"),
        ({"phase": "after"}, "phase"),
        ({"prob": "much"}, "prob"),
    ],
)
def test_a_token_that_lies(change: dict[str, Any], word: str, run: Path) -> None:
    path = run / "tokens.jsonl"
    lines = path.read_text().splitlines()
    lines[1] = json.dumps(json.loads(lines[1]) | change)
    path.write_text("\n".join(lines) + "\n")
    _refused(run, word)


def test_rows_that_lie(run: Path) -> None:
    path = run / "stages-00000.safetensors"
    sound = path.read_bytes()
    length = struct.unpack("<Q", sound[:8])[0]
    header = json.loads(sound[8 : 8 + length])
    for column, value in (("stage", 10**6), ("form", 10**6), ("positions", 2**31), ("first_position", 2**40)):
        at = 8 + length + header[column]["data_offsets"][0]
        size = 8 if column == "first_position" else 4
        path.write_bytes(sound[:at] + value.to_bytes(size, "little") + sound[at + size :])
        _refused(run)


def test_nothing_is_written_and_nothing_else_is_read(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = {each.name: each.stat().st_mtime_ns for each in run.iterdir()}
    opened: list[str] = []
    real = os.open
    monkeypatch.setattr(
        os, "open", lambda path, *rest, **more: (opened.append(str(path)), real(path, *rest, **more))[1]
    )
    read_everything(run)
    assert opened and all(Path(each).parent == run for each in opened)
    assert {each.name: each.stat().st_mtime_ns for each in run.iterdir()} == before
