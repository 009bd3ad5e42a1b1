"""`info nonfinite`: the first stage that is not finite is the one plain hooks find, and hunting changes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PreTrainedModel

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.nonfinite import NonfiniteHunt
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import CommandError, GenerationError
from llmdbg.frontends.answers import answer_json, answer_lines
from llmdbg.frontends.export import export
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt
from tests.sessions import do, tiny_session
from tests.tiny import tiny_model

NAMES = ["llama", "gpt2", "qwen3_moe", "gemma2", "gpt_neox", "opt", "falcon", "mamba", "phi3", "mixtral"]


def _session(model: PreTrainedModel, **settings: Any) -> Debugger:
    prompt = encode_prompt(None, "Hello there", vocabulary_size=128)
    greedy = {"max_new_tokens": 5, "greedy": True} if not settings else {"max_new_tokens": 5, **settings}
    return Debugger(Generation(LoadedModel("tiny", model, None, "sdpa"), prompt, GenerationSettings(**greedy)))


def _hunt(session: Debugger) -> NonfiniteHunt:
    found = do(session, "info nonfinite").data
    assert isinstance(found, NonfiniteHunt)
    return found


def _plain_first(model: PreTrainedModel, ids: tuple[int, ...]) -> tuple[nn.Module, int, int]:
    """The first module to end with something that is not finite in a plain forward; position and dimension there."""
    found: list[tuple[nn.Module, int, int]] = []

    def look(module: nn.Module, _args: Any, output: Any) -> None:
        for tensor in output if isinstance(output, tuple) else (output,):
            if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or found:
                continue
            bad = (~tensor.isfinite()).nonzero()
            if len(bad):
                # (1, position, …, dimension), or (position, dimension) where there is no batch.
                by_position = sorted(bad.tolist(), key=lambda index: index[1 if tensor.dim() > 2 else 0])
                found.append((module, by_position[0][1 if tensor.dim() > 2 else 0], by_position[0][-1]))

    handles = [each.register_forward_hook(look) for each in model.modules()]
    with torch.no_grad():
        model(torch.tensor([ids]))
    for handle in handles:
        handle.remove()
    return found[0]


def _largest_matrix(model: PreTrainedModel) -> nn.Parameter:
    """A weight in the middle of the model."""
    layers = [each for name, each in model.named_parameters() if ".1." in name and each.dim() == 2]
    return max(layers, key=lambda each: each.numel())


def _with_nan(model: PreTrainedModel) -> None:
    _largest_matrix(model)[5, 2] = math.nan


def _with_inf(model: PreTrainedModel) -> None:
    _largest_matrix(model)[3, 1] = -math.inf


def _overflowing(model: PreTrainedModel) -> None:
    _largest_matrix(model).mul_(torch.finfo(model.dtype).max / 2)


@pytest.mark.parametrize("poison", [_with_nan, _with_inf, _overflowing])
@pytest.mark.parametrize("name", NAMES)
def test_it_finds_what_plain_hooks_find(name: str, poison: Callable[[PreTrainedModel], None]) -> None:
    model = tiny_model(name)
    with torch.no_grad():
        poison(model)
    session = _session(model)
    hunt = _hunt(session)
    assert hunt.found is not None
    module, position, dimension = _plain_first(model, session.debuggee.prompt.ids)
    assert session.debuggee.anatomy.modules[hunt.found.address] is module
    assert (hunt.found.token, hunt.found.dimension) == (0, dimension)
    if hunt.found.position is not None:
        assert hunt.found.position == position
    else:
        assert name in ("qwen3_moe", "mixtral", "mamba")
    if poison is not _overflowing:
        parameter = _largest_matrix(model)
        names = {id(each): key for key, each in module.named_parameters()}
        if id(parameter) in names:
            weight = hunt.found.weights[0]
            assert weight.name == names[id(parameter)]
            assert weight.index == ((5, 2) if poison is _with_nan else (3, 1))
    assert hunt.before[-1].address == hunt.found.address
    assert hunt.before[-1].nan + hunt.before[-1].inf > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen2", "gemma3", "gpt_neox", "olmo2"])
def test_overflow_in_half_precision(name: str, dtype: torch.dtype) -> None:
    model = tiny_model(name, dtype=dtype)
    with torch.no_grad():
        _largest_matrix(model).mul_(torch.finfo(dtype).max / 4)
    session = _session(model)
    hunt = _hunt(session)
    assert hunt.found is not None
    module, position, dimension = _plain_first(model, session.debuggee.prompt.ids)
    assert session.debuggee.anatomy.modules[hunt.found.address] is module
    assert (hunt.found.position, hunt.found.dimension) == (position, dimension)
    assert hunt.found.dtype == str(dtype).removeprefix("torch.")
    assert hunt.found.weights == () and hunt.found.weights_are_read


@pytest.mark.parametrize("name", NAMES)
def test_headroom_is_that_of_plain_hooks(name: str) -> None:
    model = tiny_model(name, dtype=torch.bfloat16)
    session = _session(model)
    hunt = _hunt(session)
    assert hunt.found is None and hunt.before == ()
    reached: dict[nn.Module, float] = {}

    def look(module: nn.Module, _args: Any, output: Any) -> None:
        tensors = [each for each in (output if isinstance(output, tuple) else (output,)) if torch.is_tensor(each)]
        floats = [each.abs().max().item() for each in tensors if each.is_floating_point() and each.numel()]
        reached[module] = max([*floats, reached.get(module, 0.0)])

    handles = [each.register_forward_hook(look) for each in model.modules()]
    with torch.no_grad():
        model(torch.tensor([session.debuggee.prompt.ids]))
    for handle in handles:
        handle.remove()
    largest = torch.finfo(torch.bfloat16).max
    seen = {}
    for each in hunt.nearest:
        module = session.debuggee.anatomy.modules.get(each.address)
        if module is not None:
            seen[each.address] = each.headroom
            assert each.headroom == pytest.approx(reached[module] / largest, rel=1e-2), each.address
    assert seen
    ratios = [each.headroom for each in hunt.nearest if each.headroom is not None]
    assert len(ratios) == len(hunt.nearest)
    assert ratios == sorted(ratios, reverse=True)


def _made_infinite(session: Debugger, address: str, token: int) -> None:
    do(session, f"goto {address}@{token}")
    do(session, "edit out * 1e30 * 1e30")


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "gemma2", "opt", "mistral"])
def test_an_edit_that_overflows_is_named_and_its_token_found(name: str) -> None:
    session = tiny_session(name, max_new_tokens=6)
    do(session, "goto sample@1")
    _made_infinite(session, "0", 2)
    do(session, "goto sample@5")
    found = _hunt(session).found
    assert found is not None
    assert (found.address, found.token, found.position, found.text) == (
        "0", 2, len(session.debuggee.prompt.ids) + 1, session.run.tokens()[len(session.debuggee.prompt.ids) + 1].text
    )  # fmt: skip
    assert (found.edits, found.finite_without_edits, found.input_is_finite) == ((1,), True, True)
    assert "your edit 1 puts it there" in "\n".join(answer_lines(_hunt(session)))


def test_what_the_cache_brought_is_traced_in_two_forwards_and_one_for_what_came_before() -> None:
    session = tiny_session(max_new_tokens=40)
    do(session, "goto sample@20")
    _made_infinite(session, "0.self_attn.k_proj", 21)
    do(session, "goto sample@35")
    hunt = _hunt(session)
    assert hunt.found is not None and hunt.found.token == 21
    # Where it stands, the token, the one before it, and that one without the edit.
    assert hunt.tokens_run == 4


@pytest.mark.parametrize("name", ["mamba", "llama"])
def test_what_left_no_trace_in_the_cache_is_found_by_halving(name: str) -> None:
    session = tiny_session(name, max_new_tokens=30)
    do(session, "goto sample@2")
    model = session.inspector.model
    do(session, "goto sample@20")
    head = model.get_output_embeddings().weight
    with torch.no_grad():
        head[3] = math.nan
    hunt = _hunt(session)
    assert hunt.found is not None and hunt.found.token == 0
    assert hunt.tokens_run <= 8


def test_a_state_without_positions_is_searched_by_halving() -> None:
    session = tiny_session("mamba", max_new_tokens=12)
    do(session, "goto sample@2")
    _made_infinite(session, "0.mixer.in_proj", 3)
    do(session, "goto sample@10")
    hunt = _hunt(session)
    assert hunt.found is not None
    assert (hunt.found.token, hunt.found.address, hunt.found.edits) == (3, "0.mixer.in_proj", (1,))


@pytest.mark.parametrize("place", ["tokenize", "1", "logits", "sample@2", "0@2"])
@pytest.mark.parametrize("name", ["llama", "mistral", "mamba"])
def test_hunting_leaves_the_session_as_it_was(name: str, place: str) -> None:
    settings: dict[str, Any] = {"max_new_tokens": 5, "temperature": 1.3, "top_k": 20, "seed": 7}
    asked, silent = tiny_session(name, **settings), tiny_session(name, **settings)
    for each in (asked, silent):
        if place != "tokenize":
            do(each, f"goto {place}")
    stop, standing, ids = asked.stop, asked.run.place, asked.run.generated_ids()
    _hunt(asked)
    assert (asked.stop, asked.run.place, asked.run.generated_ids()) == (stop, standing, ids)
    while asked.end is None:
        do(asked, "continue")
        do(silent, "continue")
    assert asked.end == silent.end
    _hunt(asked)
    assert asked.end == silent.end
    assert asked.debuggee.timeline.fingerprints() == silent.debuggee.timeline.fingerprints()
    assert "verified" in answer_lines(do(asked, "verify").data)[0]


@pytest.mark.parametrize("attn", ["eager", "sdpa"])
@pytest.mark.parametrize("name", ["llama", "gpt2", "olmo2", "mistral", "qwen2", "gpt_neox"])
def test_left_padding_is_no_find_and_what_is_found_stands_behind_it(name: str, attn: str) -> None:
    model = tiny_model(name, attn=attn)
    prompt = encode_prompt(None, "Hello there", vocabulary_size=128, left_pad=5)
    session = Debugger(
        Generation(LoadedModel("tiny", model, None, attn), prompt, GenerationSettings(max_new_tokens=5, greedy=True))
    )
    do(session, "goto logits@1")
    assert _hunt(session).found is None
    _made_infinite(session, "0", 1)
    do(session, "goto sample@2")
    found = _hunt(session).found
    assert found is not None and (found.token, found.position) == (1, len(prompt.ids))


def test_the_reach_of_every_layer_of_the_demo_model_is_that_of_plain_hooks(smollm2: LoadedModel) -> None:
    prompt = encode_prompt(smollm2.tokenizer, "What is an LLM?", chat=True)
    session = Debugger(Generation(smollm2, prompt, GenerationSettings(max_new_tokens=3, greedy=True)))
    hunt = _hunt(session)
    assert hunt.found is None and hunt.stages == len(session.debuggee.anatomy.stages) - 2
    reached: dict[nn.Module, torch.Tensor] = {}

    def look(module: nn.Module, _args: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            reached[module] = output.abs().max()

    handles = [each.register_forward_hook(look) for each in smollm2.model.modules()]
    smollm2.model.generate(torch.tensor([prompt.ids]), max_new_tokens=1, do_sample=False)
    for handle in handles:
        handle.remove()
    compared = 0
    for each in hunt.nearest:
        module = session.debuggee.anatomy.modules[each.address]
        if module in reached:
            assert each.output_absmax == reached[module].item(), each.address
            compared += 1
    assert compared >= 5


def test_a_breakpoint_stays_the_reason_of_a_stop() -> None:
    session = tiny_session()
    do(session, "break 1.mlp")
    do(session, "continue")
    before = session.stop
    _hunt(session)
    assert session.stop == before and session.run.look().breakpoint == 1


def test_scores_that_a_processor_cuts_are_no_find() -> None:
    session = tiny_session(temperature=1.0, top_k=3)
    do(session, "goto sample@1")
    assert _hunt(session).found is None


def test_at_tokenize_the_prefill_is_run_and_it_says_so() -> None:
    session = tiny_session()
    hunt = _hunt(session)
    assert (hunt.token, hunt.tokens_run) == (0, 1) and "prefill was run" in hunt.notes[0]
    assert session.stop.stage.address == "tokenize" and session.debuggee.timeline.ids == []


def test_a_choice_that_fails_on_nan_can_be_hunted() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        _with_nan(model)
    session = _session(model, temperature=1.0)
    with pytest.raises(GenerationError):
        do(session, "continue")
    with pytest.raises(CommandError, match="go back"):
        do(session, "info nonfinite")
    do(session, "goto 0")
    assert _hunt(session).found is not None
    assert session.stop.stage.address == "0"


def test_packed_weights_are_said_not_to_be_looked_into() -> None:
    model = tiny_model("llama")
    with torch.no_grad():
        _with_nan(model)
    session = _session(model)
    address = _hunt(session).found.address
    session.debuggee.anatomy.modules[address].register_parameter(
        "packed", nn.Parameter(torch.zeros(2, dtype=torch.uint8), requires_grad=False)
    )
    assert _hunt(session).found.weights_are_read is False


def test_the_answer_is_text_json_and_csv(tmp_path: Any) -> None:
    session = tiny_session()
    do(session, "goto 1@1")
    _made_infinite(session, "0.mlp", 1)
    do(session, "goto logits@1")
    hunt = _hunt(session)
    lines = answer_lines(hunt)
    assert lines[0].startswith("first not finite: 0.mlp, token 1 (decode), position 11")
    assert all("\x1b" not in line for line in lines)
    fields = json.loads(json.dumps(answer_json(hunt), allow_nan=False))
    assert fields["found"]["value"] == "Infinity" and fields["before"][-1]["address"] == "0.mlp"
    export(hunt, tmp_path / "hunt.csv")
    assert (tmp_path / "hunt.csv").read_text().startswith("stage,dtype,")
    assert session.inspector.asked.last_answers["nonfinite"] == hunt
