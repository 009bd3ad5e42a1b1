"""`save tensor`: the file holds exactly the bits the stage gave, and says where they come from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from llmdbg.debugger.commands import Quit
from llmdbg.debugger.debugger import Debugger
from llmdbg.errors import AddressError, CommandError, LlmdbgError
from llmdbg.frontends.answers import answer_lines
from llmdbg.frontends.batch.checks import check_addresses, parse_commands
from tests.sessions import do, tiny_session


def _saved(session: Debugger, line: str) -> str:
    return do(session, line).data


def _given(name: str, address: str, token: int) -> Any:
    """What a stage gave, seen by standing there in another session."""
    session = tiny_session(name)
    do(session, f"goto {address}@{token}")
    output = session.run.event.output
    return output[0].clone() if isinstance(output, tuple) else output.clone()


@pytest.mark.parametrize("token", [0, 2])
@pytest.mark.parametrize("name", ["llama", "gpt2", "mistral", "mixtral", "gemma2", "mamba"])
def test_a_stage_that_has_passed_is_saved_bit_by_bit(name: str, token: int, tmp_path: Path) -> None:
    session = tiny_session(name)
    do(session, f"goto logits@{token}")
    stop, place = session.stop, session.run.place
    said = _saved(session, f"save tensor 1 {tmp_path}/layer.safetensors")
    tensors = load_file(tmp_path / "layer.safetensors")
    assert next(iter(tensors)) in ("1", "1[0]")
    expected = _given(name, "1", token)
    found = next(iter(tensors.values()))
    assert torch.equal(found, expected) and found.dtype is expected.dtype
    assert str(list(expected.shape)) in said and "bytes" in said and "layer.safetensors" in said
    assert (session.stop, session.run.place) == (stop, place)
    while session.end is None:
        do(session, "continue")
    assert session.end.ids == _untouched(name)


def _untouched(name: str) -> tuple[int, ...]:
    session = tiny_session(name)
    while session.end is None:
        do(session, "continue")
    return session.end.ids


def test_here_an_edit_is_part_of_what_is_saved(tmp_path: Path) -> None:
    session = tiny_session()
    do(session, "goto 0.mlp@1")
    do(session, "edit out * 0 + 3")
    _saved(session, f"save tensor 0.mlp {tmp_path}/a.safetensors")
    do(session, "goto 1@1")
    _saved(session, f"save tensor 0.mlp {tmp_path}/b.safetensors")
    for name in ("a", "b"):
        assert (load_file(tmp_path / f"{name}.safetensors")["0.mlp"] == 3).all()


def test_the_file_says_where_it_comes_from(tmp_path: Path) -> None:
    session = tiny_session()
    do(session, "goto 0@2")
    _saved(session, f"save tensor 0 {tmp_path}/x.safetensors")
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        about = file.metadata()
    prompt = len(session.debuggee.prompt.ids)
    assert about["model"] == "tiny llama" and about["address"] == "0" and about["token"] == "2"
    assert about["phase"] == "decode" and about["positions"] == f"{prompt + 1}-{prompt + 1}"
    assert about["prompt_length"] == str(prompt)


def test_many_stages_and_all_tensors_of_one_have_names(tmp_path: Path) -> None:
    session = tiny_session()
    do(session, "goto logits")
    said = _saved(session, f"save tensor *.self_attn.q_proj {tmp_path}/q.safetensors")
    assert set(load_file(tmp_path / "q.safetensors")) == {"0.self_attn.q_proj", "1.self_attn.q_proj"}
    assert "0.self_attn.q_proj" in said
    _saved(session, f"save tensor model.rotary_emb {tmp_path}/r.safetensors")
    assert set(load_file(tmp_path / "r.safetensors")) == {"model.rotary_emb[0]", "model.rotary_emb[1]"}
    _saved(session, f"save tensor layer 1 '{tmp_path}/with space.safetensors'")
    assert (tmp_path / "with space.safetensors").exists()


def test_a_file_that_is_there_is_replaced_whole_or_not_at_all(tmp_path: Path, monkeypatch: Any) -> None:
    session = tiny_session()
    do(session, "goto 0")
    line = f"save tensor 0 {tmp_path}/x.safetensors"
    assert "(replaced)" not in _saved(session, line)
    assert "(replaced)" in _saved(session, line)
    before = (tmp_path / "x.safetensors").read_bytes()

    def fails(_tensors: Any, path: Path, *_: Any) -> None:
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("safetensors.torch.save_file", fails)
    with pytest.raises(CommandError, match="No space left"):
        _saved(session, line)
    assert (tmp_path / "x.safetensors").read_bytes() == before
    assert [each.name for each in tmp_path.iterdir()] == ["x.safetensors"]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("save tensor 1 {0}/x.safetensors", "has not run yet for token 0: `goto 1`"),
        ("save tensor *.mlp {0}/x.safetensors", "1.mlp has not run yet"),
        ("save tensor tokenize {0}/x.safetensors", "has not run yet"),
        ("save tensor 0@3 {0}/x.safetensors", "not about token 0"),
        ("save tensor 0 {0}/x.pt", "must end in .safetensors"),
        ("save tensor 0 {0}/none/x.safetensors", "cannot write"),
        ("save tensor nowhere {0}/x.safetensors", "no stage is called"),
        ("save tensor 0", "is written"),
        ("save 0 {0}/x.safetensors", "is written"),
        ("save", "is written"),
    ],
)
def test_what_cannot_be_saved_is_said(line: str, said: str, tmp_path: Path) -> None:
    session = tiny_session()
    do(session, "goto 0.mlp") if "tensor 0" not in line else do(session, "goto 0")
    stop = session.stop
    with pytest.raises(LlmdbgError, match=said):
        do(session, line.format(tmp_path))
    assert session.stop == stop and not list(tmp_path.iterdir())


def test_nothing_has_run_at_the_beginning_but_the_prompt_is_there(tmp_path: Path) -> None:
    session = tiny_session()
    with pytest.raises(CommandError, match="has not run yet"):
        do(session, f"save tensor 0 {tmp_path}/x.safetensors")
    do(session, f"save tensor tokenize {tmp_path}/x.safetensors")
    assert load_file(tmp_path / "x.safetensors")["tokenize"].tolist() == [list(session.debuggee.prompt.ids)]


def _written(output: Any, tmp_path: Path) -> dict[str, torch.Tensor]:
    session = tiny_session()
    do(session, "goto 0")
    session.run.event.output = output
    do(session, f"save tensor 0 {tmp_path}/x.safetensors")
    return load_file(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(3, 4).t(),
        torch.randn(1, 1, 4).expand(2, 3, 4),
        torch.zeros(0, 5),
        torch.tensor(2.5),
        torch.complex(torch.randn(3), torch.randn(3)).conj(),
        torch.complex(torch.randn(3), torch.randn(3)).conj().imag,
        torch.arange(4),
        torch.tensor([True, False]),
        torch.randn(4).to(torch.bfloat16)[::2],
        torch.randn(4).to(torch.float8_e4m3fn),
    ],
)
def test_tensors_of_any_layout_come_back_equal(tensor: torch.Tensor, tmp_path: Path) -> None:
    found = _written(tensor, tmp_path)["0"]
    plain = tensor.resolve_conj().resolve_neg()
    assert found.dtype is tensor.dtype and found.shape == tensor.shape
    if tensor.element_size() == 1:
        found, plain = found.float(), plain.float()
    assert torch.equal(found, plain)


def test_shared_memory_is_written_twice(tmp_path: Path) -> None:
    one = torch.randn(4)
    found = _written((one, {"again": one, "nothing": None}), tmp_path)
    assert set(found) == {"0[0]", "0[1]['again']"} and all(torch.equal(each, one) for each in found.values())


@pytest.mark.parametrize(
    ("tensor", "said"),
    [
        (torch.eye(2).to_sparse(), "sparse"),
        (torch.zeros(2, dtype=torch.complex128), "cannot hold complex128"),
        (torch.zeros(2, device="meta"), "cannot hold"),
    ],
)
def test_what_the_format_has_no_room_for_is_refused(tensor: torch.Tensor, said: str, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=said):
        _written(tensor, tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_mistake_is_found_before_anything_runs() -> None:
    parse_commands(["save tensor 12.mlp x.safetensors"])
    for line in ("save tensor 0 x.bin", "save everything"):
        with pytest.raises(CommandError):
            parse_commands([line])
    with pytest.raises(AddressError):
        check_addresses(parse_commands(["save tensor nowhere x.safetensors"]), tiny_session())


def _written_commands(tmp_path: Path, text: str, name: str = "look.txt") -> Path:
    (tmp_path / name).write_text(text)
    return tmp_path / name


def test_a_file_of_commands_is_run_line_by_line(tmp_path: Path) -> None:
    path = _written_commands(tmp_path, "# where\nbreak 1.mlp\n\n  continue\ninfo stats\n")
    session, other = tiny_session(), tiny_session()
    found = do(session, f"source {path}").data
    for line in ("break 1.mlp", "continue"):
        do(other, line)
    assert found[-1] == session.stop.tensor == other.stop.tensor
    assert session.stop.stage.address == "1.mlp" and session.stop.breakpoint == 1
    assert answer_lines(found)


def test_a_mistake_in_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    path = _written_commands(tmp_path, "goto 0\nfly\ngoto 1\n")
    session = tiny_session()
    with pytest.raises(CommandError, match=r"look\.txt, line 2: there is no command 'fly'"):
        do(session, f"source {path}")
    assert session.stop.stage.address == "0"


def test_files_that_read_each_other_end(tmp_path: Path) -> None:
    one = _written_commands(tmp_path, f"source {tmp_path}/two.txt\n", "one.txt")
    _written_commands(tmp_path, f"source {one}\n", "two.txt")
    with pytest.raises(CommandError, match=r"two\.txt, line 1: .*one\.txt is already being run"):
        do(tiny_session(), f"source {one}")
    for number in range(12):
        _written_commands(tmp_path, f"source {tmp_path}/{number + 1}.txt", f"{number}.txt")
    with pytest.raises(CommandError, match="10 nested files are the most"):
        do(tiny_session(), f"source {tmp_path}/0.txt")
    inner = _written_commands(tmp_path, "goto 1\n", "inner.txt")
    outer = _written_commands(tmp_path, f"goto 0\nsource {inner}\ninfo stage\n", "outer.txt")
    session = tiny_session()
    do(session, f"source {outer}")
    assert session.stop.stage.address == "1"


def test_quit_in_a_file_leaves_and_what_is_no_file_is_refused(tmp_path: Path) -> None:
    assert isinstance(do(tiny_session(), f"source {_written_commands(tmp_path, 'quit')}"), Quit)
    for name, said in ((tmp_path, "it is a folder"), (tmp_path / "none", "cannot read"), ("", "needs FILE")):
        with pytest.raises(CommandError, match=said):
            do(tiny_session(), f"source {name}".strip())
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(CommandError, match="not UTF-8"):
        do(tiny_session(), f"source {tmp_path}/bytes")
