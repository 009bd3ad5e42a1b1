"""Direct attribution: the parts are what hooks of our own see added, and they add up to the model's own logit."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import LensError
from llmdbg.probes.attribution import LayerResidual, ModuleOutput, attribution, parts_of, readout
from llmdbg.probes.lens import Lens
from tests.sessions import attribution_of, do, opened, tiny_session
from tests.tiny import EXTRA, REQUIRED

PARTS = {
    "llama": ("self_attn", "mlp"),
    "mixtral": ("self_attn", "mlp"),
    "gpt2": ("attn", "mlp"),
    "gpt_neox": ("attention", "mlp"),
    "phi": ("self_attn", "mlp"),
    "falcon": ("self_attention", "mlp"),
    "gemma2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "olmo2": ("post_attention_layernorm", "post_feedforward_layernorm"),
    "opt": ("self_attn", "fc2"),
    "mamba": ("mixer",),
}
"""The modules whose outputs each architecture's source adds to the residual stream as they are."""

RNG = np.random.default_rng(0)


def seen(session: Debugger, addresses: list[str]) -> tuple[dict[str, torch.Tensor], torch.Tensor, torch.Tensor]:
    """By hooks of our own, at the last position: modules' outputs, what goes into layer 0, and the logits."""
    model, found = session.inspector.model, {}
    ids = [*session.debuggee.prompt.ids, *session.debuggee.generated[: session.stop.token]]

    def at_last(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.reshape(len(ids), -1)[-1].clone()

    def keep(name: str):
        def hook(_module, _args, output):
            found[name] = at_last(output[0] if isinstance(output, tuple) else output)

        return hook

    def first(_module, args, kwargs):
        found["entering"] = at_last(args[0] if args else kwargs["hidden_states"])

    handles = [session.debuggee.anatomy.modules[each].register_forward_hook(keep(each)) for each in addresses]
    handles.append(session.debuggee.anatomy.modules["0"].register_forward_pre_hook(first, with_kwargs=True))
    with torch.no_grad():
        logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
    for handle in handles:
        handle.remove()
    return found, found["entering"], logits


def derivative(session: Debugger, residual: torch.Tensor, id: int) -> torch.Tensor:
    """The direction from residual to logit with the norm's scale held, by autograd."""
    norm = session.debuggee.anatomy.modules.get("norm")
    hidden = residual.clone().requires_grad_()
    if isinstance(norm, nn.LayerNorm):
        centred = hidden - hidden.mean()
        scale = (centred.detach().pow(2).mean() + norm.eps).rsqrt()
        normed = centred * scale * norm.weight + (0 if norm.bias is None else norm.bias)
    elif norm is not None:
        plain = norm(residual[None])[0].detach()
        normed = hidden * torch.where(residual == 0, 0, plain / residual)
    else:
        normed = hidden
    decoder = session.inspector.model.get_decoder()
    if getattr(decoder, "project_out", None) is not None:
        normed = decoder.project_out(normed)
    score = session.inspector.model.get_output_embeddings()(normed)[id]
    return torch.autograd.grad(score, hidden)[0]


@pytest.mark.parametrize("name", PARTS)
def test_each_part_is_the_modules_own_output_along_the_tokens_direction(name: str) -> None:
    session = tiny_session(name)
    do(session, "goto logits@1")
    value = attribution_of(session)
    names = [f"{layer}.{part}" for layer in (0, 1) for part in PARTS[name]]
    found, entering, _ = seen(session, [*names, "1"])
    direction = derivative(session, found["1"], value.id)
    by_address = {each.address: each.value for each in value.terms}
    assert [each.address for each in value.terms if each.layer is not None] == names
    for address in names:
        assert by_address[address] == pytest.approx(float(direction @ found[address]), abs=3e-5)
    assert by_address["embed"] == pytest.approx(float(direction @ entering), abs=3e-5)
    assert value.whole == ()


@pytest.mark.parametrize("name", sorted({*REQUIRED, *EXTRA} - {"modernbert_decoder", "deepseek_v4"}))
def test_the_parts_add_up_to_the_models_logit(name: str) -> None:
    session = tiny_session(name)
    do(session, "goto logits@2")
    value = attribution_of(session)
    logits = session.run.event.trail[0][1][0]
    assert value.sum == pytest.approx(sum(each.value for each in value.terms))
    shown = value.logit if value.capped is None else value.capped
    assert shown == pytest.approx(float(logits[value.id]), abs=2e-5 * max(1.0, float(logits.abs().max())))
    assert value.sum == pytest.approx(value.logit, abs=2e-5 * max(1.0, abs(value.logit)))
    assert value.id == int(logits.argmax())


def test_a_soft_cap_is_applied_to_the_sum() -> None:
    session = tiny_session("gemma2")
    do(session, "goto logits@1")
    value = attribution_of(session)
    cap = session.inspector.model.config.final_logit_softcapping
    assert value.capped == pytest.approx(float(np.tanh(value.logit / cap) * cap), abs=1e-5)
    assert value.capped != value.logit


@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2"])
def test_in_bfloat16_within_its_roundings(name: str) -> None:
    session = tiny_session(name)
    session.inspector.model.to(torch.bfloat16)
    try:
        do(session, "run")
        do(session, "goto logits@1")
        value = attribution_of(session)
        assert value.whole == ()
        assert value.sum == pytest.approx(
            value.logit, abs=0.03 * max(1.0, sum(abs(each.value) for each in value.terms))
        )
    finally:
        session.close()
        session.inspector.model.to(torch.float32)


def test_inside_the_stack_it_is_the_lenss_logit_there() -> None:
    session = tiny_session()
    do(session, "goto 0@1")
    value = attribution_of(session)
    table = TOPICS["lens"].ask(session.inspector, "")
    assert value.after == "0"
    assert {each.layer for each in value.terms} == {None, 0}
    assert value.id == table.prediction.id
    assert value.logit == pytest.approx(table.prediction.logit, abs=1e-5)
    assert value.sum == pytest.approx(value.logit, abs=1e-5)


def test_of_another_token_and_another_position() -> None:
    session = tiny_session()
    do(session, "goto logits")
    do(session, "focus 2")
    value = attribution_of(session, '"a"')
    assert (value.id, value.position) == (97, 2)
    assert value.sum == pytest.approx(value.logit, abs=1e-5)
    do(session, "focus last")
    assert attribution_of(session, '"a"').terms != value.terms


def test_tied_and_untied_heads() -> None:
    for tied in (True, False):
        session = tiny_session("gpt2" if tied else "llama")
        head, table = session.inspector.model.get_output_embeddings(), session.inspector.model.get_input_embeddings()
        assert (head.weight is table.weight) is tied
        do(session, "goto logits")
        value = attribution_of(session)
        assert value.sum == pytest.approx(value.logit, abs=1e-5)


def layer_of(before: np.ndarray, after: np.ndarray, **modules: np.ndarray) -> LayerResidual:
    made = tuple(
        ModuleOutput(f"0.{name}", "mlp" if name == "mlp" else "attention", each, ()) for name, each in modules.items()
    )
    return LayerResidual("0", 0, before, after, made)


def test_scaled_parts_are_found() -> None:
    before, attn, mlp, normed = RNG.normal(size=(4, 32))
    parts = parts_of(layer_of(before, before + 0.22 * attn + 0.22 * mlp, norm=normed, attn=attn, mlp=mlp), 1e-7)
    assert parts is not None
    assert [each.address for each in parts] == ["0.attn", "0.mlp"]
    assert np.allclose(parts[0].vector, 0.22 * attn)


def test_modules_that_return_the_sum_are_taken_for_what_they_added() -> None:
    before, attn, mlp, normed = RNG.normal(size=(4, 32))
    middle, after = before + attn, before + attn + mlp
    modules = (
        ModuleOutput("0.attn", "attention", middle, (normed, before)),
        ModuleOutput("0.mlp", "mlp", after, (normed, middle)),
    )
    parts = parts_of(LayerResidual("0", 0, before, after, modules), 1e-7)
    assert parts is not None
    assert np.allclose(parts[0].vector, attn)
    assert np.allclose(parts[1].vector, mlp)


def test_a_layer_whose_modules_do_not_add_up_is_one_part() -> None:
    before, attn, mlp = RNG.normal(size=(3, 32))
    layer = layer_of(before, before + np.tanh(attn) * mlp, attn=attn, mlp=mlp)
    assert parts_of(layer, 1e-7) is None
    lens = Lens(32, None, None, nn.Linear(32, 5, bias=False))
    read = readout(lens, torch.tensor(layer.after, dtype=torch.float32), 3)
    terms, whole = attribution(read, [layer], 1e-7)
    assert whole == ("0",)
    assert [each.what for each in terms] == ["embedding", "layer", "constant"]
    assert sum(each.value for each in terms) == pytest.approx(read.logit, abs=1e-4)


def test_what_happens_between_layers_is_a_part_of_its_own() -> None:
    before, first, other, second = RNG.normal(size=(4, 32))
    layers = [layer_of(before, before + first, attn=first), layer_of(other, other + second, attn=second)]
    layers[1] = LayerResidual("1", 1, other, other + second, layers[1].modules)
    lens = Lens(32, None, None, nn.Linear(32, 5))
    read = readout(lens, torch.tensor(layers[1].after, dtype=torch.float32), 1)
    terms, _ = attribution(read, layers, 1e-7)
    assert [each.address for each in terms] == ["embed", "0.attn", "before 1", "0.attn", "norm and head"]
    assert sum(each.value for each in terms) == pytest.approx(read.logit, abs=1e-4)


class _Squashing(nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.tanh(hidden)


class _Quantised(nn.Module):
    weight = torch.zeros(5, 32, dtype=torch.int8)


def test_a_norm_that_is_not_linear_is_refused() -> None:
    lens = Lens(32, _Squashing(), None, nn.Linear(32, 5))
    with pytest.raises(LensError, match="norm is not linear"):
        readout(lens, torch.randn(32), 0)


def test_a_head_whose_weights_cannot_be_read_is_refused() -> None:
    with pytest.raises(LensError, match="_Quantised"):
        readout(Lens(32, None, None, _Quantised()), torch.randn(32), 0)


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_norm_takes_its_mean_and_its_bias_along(bias: bool) -> None:
    torch.manual_seed(0)
    norm, head = nn.LayerNorm(32, bias=bias), nn.Linear(32, 5)
    with torch.no_grad():
        norm.weight.normal_()
        if bias:
            norm.bias.normal_()
    residual = torch.randn(32) + 3
    read = readout(Lens(32, norm, None, head), residual, 2)
    expected = float(head(norm(residual))[2].detach())
    assert read.logit == pytest.approx(expected, abs=1e-5)
    assert float(read.direction @ residual.double().numpy()) + read.constant == pytest.approx(expected, abs=1e-4)


def test_the_demo_model_says_what_its_hooks_say() -> None:
    session = opened("smollm2", "The capital of France is", greedy=True, max_new_tokens=2)
    do(session, "goto logits")
    value = attribution_of(session)
    assert value.text == " Paris"
    names = [f"{layer}.{part}" for layer in range(30) for part in ("self_attn", "mlp")]
    found, entering, logits = seen(session, [*names, "29"])
    direction = derivative(session, found["29"], value.id)
    by_address = {each.address: each.value for each in value.terms}
    assert [each.address for each in value.terms if each.layer is not None] == names
    for address in names:
        assert by_address[address] == pytest.approx(float(direction @ found[address]), abs=2e-3)
    assert by_address["embed"] == pytest.approx(float(direction @ entering), abs=2e-3)
    assert value.sum == pytest.approx(float(logits[value.id]), abs=2e-3)
