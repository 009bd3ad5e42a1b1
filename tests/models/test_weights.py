"""Weights that are not those of the model their configuration describes: refused, or loaded and named."""

import json
from itertools import count

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from llmdbg import open_session
from llmdbg.errors import DamagedFileError, WeightsError
from llmdbg.models.checkpoints import tensors, weight_files
from llmdbg.models.loading import load
from llmdbg.models.spec import ShapeMismatch
from llmdbg.models.weight_differences import grouped, in_layer_order
from tests.models.gguf_writing import write_llama_gguf
from tests.models.refusals import change_config, refusal, spec
from tests.sessions import tiny_tokenizer
from tests.tiny import tiny_model

HEAD, EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
BIASES = tuple(f"model.layers.{layer}.self_attn.{name}_proj.bias" for layer in range(3) for name in "qkv")


@pytest.fixture
def rewritten(a_copy):
    """Makes copies of the model folder, with other weights, another configuration, or both."""

    names = map(str, count())

    def made(change=lambda _weights: None, **changes):
        folder = a_copy(next(names))
        weights = load_file(folder / "model.safetensors")
        change(weights)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        change_config(folder, **changes)
        return folder

    return made


def refused(folder, **changes):
    """The one line that the weights are refused with, and the differences it comes with."""
    with pytest.raises(WeightsError) as caught:
        load(spec(folder, **changes))
    return str(caught.value), caught.value.differences


def without(*names):
    """Take tensors out of the weights."""
    return lambda weights: [weights.pop(name) for name in names]


def with_more(**tensors):
    """Put tensors into the weights."""
    return lambda weights: weights.update(tensors)


def test_whole_weights_differ_in_nothing(tiny_folder):
    loaded = load(spec(tiny_folder))
    assert not loaded.weights.broken
    assert loaded.weights.rows() == ()
    assert loaded.notes == ()


def test_all_that_is_missing_is_named(rewritten):
    message, differences = refused(rewritten(attention_bias=True))
    outputs = tuple(f"model.layers.{layer}.self_attn.o_proj.bias" for layer in range(3))

    assert sorted(differences.missing) == sorted(BIASES + outputs)
    assert "12 tensors missing: " in message
    assert all(f"model.layers.*.self_attn.{name}_proj.bias (3)" in message for name in "qkvo")
    assert "--allow-missing" in message


def test_some_layers_that_are_missing_are_named_by_their_numbers(rewritten):
    message, differences = refused(rewritten(num_hidden_layers=6))
    assert len(differences.missing) == 27
    assert differences.missing[0].startswith("model.layers.3.")
    assert "model.layers.3-5.self_attn.* (12)" in message


def test_all_that_is_not_used_is_named(rewritten):
    folder = rewritten(with_more(**{name: torch.zeros(32) for name in BIASES}))
    loaded = load(spec(folder))

    assert sorted(loaded.weights.unused) == sorted(BIASES)
    [note] = loaded.notes
    assert "the model does not use 9 tensors of the weights: " in note
    assert all(f"model.layers.*.self_attn.{name}_proj.bias (3)" in note for name in "qkv")


def test_a_shape_that_does_not_fit_is_told_with_both(rewritten):
    message, differences = refused(rewritten(with_more(**{HEAD: torch.zeros(100, 32)})))
    assert differences.mismatched == (ShapeMismatch(HEAD, (100, 32), (320, 32)),)
    assert f"1 tensor of another shape: {HEAD} (100×32 instead of 320×32)" in message

    message, differences = refused(rewritten(intermediate_size=80))
    assert len(differences.mismatched) == 9
    assert "model.layers.*.mlp.up_proj.weight (3, 64×32 instead of 80×32)" in message


def test_a_tied_head_of_another_shape_is_told_although_transformers_fails_on_it(rewritten):
    folder = rewritten(with_more(**{HEAD: torch.zeros(100, 32)}), tie_word_embeddings=True)
    message, differences = refused(folder)
    assert differences.mismatched == (ShapeMismatch(HEAD, (100, 32), (320, 32)),)
    # transformers cannot load it, allowed or not.
    assert "--allow-missing" not in message
    assert "100×32 instead of 320×32" in refused(folder, allow_missing=True)[0]


def test_a_missing_head_that_may_be_tied_says_so(rewritten):
    message, differences = refused(rewritten(without(HEAD)))
    assert differences.missing == (HEAD,)
    assert "set tie_word_embeddings to true" in message
    # It would be no help to any other.
    assert "tie_word" not in refused(rewritten(without("model.norm.weight")))[0]


@pytest.mark.parametrize("name", [HEAD, EMBEDDING])
def test_either_of_two_tied_weights_is_enough(rewritten, name):
    loaded = load(spec(rewritten(without(name), tie_word_embeddings=True)))
    assert loaded.weights.rows() == ()
    assert loaded.model.lm_head.weight is loaded.model.model.embed_tokens.weight


def test_a_head_that_is_stored_although_it_is_tied_is_told(rewritten):
    folder = rewritten(tie_word_embeddings=True)
    loaded = load(spec(folder))

    assert loaded.weights.untied == (HEAD,)
    assert "tie_word_embeddings" in loaded.notes[0]
    assert HEAD in loaded.notes[0]
    # The note says which of the two runs.
    assert torch.equal(loaded.model.lm_head.weight, load_file(folder / "model.safetensors")[HEAD])


def test_a_stored_head_that_is_the_embedding_is_no_difference(rewritten):
    def tie(weights):
        weights[HEAD] = weights[EMBEDDING].clone()

    assert load(spec(rewritten(tie, tie_word_embeddings=True))).weights.rows() == ()


def test_allow_missing_opens_the_model_and_names_what_is_made_up(rewritten):
    lost = "model.layers.1.mlp.up_proj.weight"
    folder = rewritten(without(lost))
    loaded, again = (load(spec(folder, allow_missing=True)) for _ in range(2))

    assert loaded.weights.missing == (lost,)
    assert loaded.weights.broken
    assert "only initialised by transformers" in loaded.notes[0]
    assert lost in loaded.notes[0]
    made = loaded.model.get_parameter(lost)
    assert torch.equal(made, again.model.get_parameter(lost)), "the same command must give the same weights"


def test_allow_missing_leaves_the_callers_random_stream_alone(rewritten):
    folder = rewritten(without(HEAD))
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    load(spec(folder, allow_missing=True))
    assert torch.equal(torch.rand(3), wanted)


def test_allow_missing_opens_shapes_that_do_not_fit(rewritten):
    loaded = load(spec(rewritten(with_more(**{HEAD: torch.zeros(100, 32)})), allow_missing=True))
    assert loaded.model.lm_head.weight.shape == (320, 32)
    assert "100×32 instead of 320×32" in loaded.notes[0]


def test_a_session_has_the_notes_and_the_names(rewritten):
    folder = rewritten(lambda weights: (weights.pop(HEAD), weights.update(extra=torch.zeros(3))))
    with open_session(folder, "Hello", max_new_tokens=2, greedy=True, allow_missing=True) as session:
        answer = session.do("info model").data
        assert session.weights is answer.weights
        assert (session.weights.missing, session.weights.unused) == ((HEAD,), ("extra",))
        assert all(any(name in note for note in session.notes) for name in (HEAD, "extra"))
        assert HEAD in str(answer)
        assert str(session.weights) == f"missing: {HEAD}\nunused: extra"
        session.do("continue")


def test_an_adopted_model_and_random_weights_have_no_stored_weights(tiny_folder):
    assert load(spec(tiny_folder, random_weights=True)).weights is None
    model = load(spec(tiny_folder)).model
    with open_session(model, "Hello", max_new_tokens=1, greedy=True) as session:
        assert session.weights is None


@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.int8])
def test_quantised_weights_without_a_word_on_how_to_read_them(rewritten, dtype):
    def quantize(weights):
        weights.update({name: each.to(dtype) for name, each in weights.items() if "proj" in name})

    folder = rewritten(quantize)
    message, differences = refused(folder)
    assert len(differences.quantized) == 21
    assert "21 tensors quantised, and config.json does not say how" in message
    assert "used undecoded" in load(spec(folder, allow_missing=True)).notes[0]


def test_buffers_of_old_checkpoints_are_not_taken_for_quantised_weights(rewritten):
    folder = rewritten(with_more(**{"model.layers.0.attn.bias": torch.zeros(1, 1, 4, 4, dtype=torch.uint8)}))
    assert load(spec(folder)).weights.quantized == ()


def test_what_a_class_leaves_out_on_purpose_is_named_without_a_note(rewritten, monkeypatch):
    from transformers import LlamaForCausalLM

    monkeypatch.setattr(LlamaForCausalLM, "_keys_to_ignore_on_load_unexpected", [r"^mtp\."])
    loaded = load(spec(rewritten(with_more(**{"mtp.head.weight": torch.zeros(3)}))))
    assert loaded.weights.ignored == ("mtp.head.weight",)
    assert loaded.notes == ()


def sharded(folder, weight_map, change=lambda _weights: None):
    """Put the weights into two files with an index, which `weight_map` is added to."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    change(weights)
    names = sorted(weights)
    parts = {"model-00001-of-00002.safetensors": names[::2], "model-00002-of-00002.safetensors": names[1::2]}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
    whole = {name: file for file, part in parts.items() for name in part}
    index = {"metadata": {}, "weight_map": {**whole, **weight_map}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def test_a_sharded_folder_is_whole(a_copy):
    assert load(spec(sharded(a_copy(), {}))).weights.rows() == ()


def test_an_index_that_names_tensors_in_no_file(a_copy):
    folder = sharded(a_copy(), {"model.layers.7.mlp.up_proj.weight": "model-00001-of-00002.safetensors"})
    message, differences = refused(folder)
    assert differences.absent == ("model.layers.7.mlp.up_proj.weight",)
    assert "1 tensor of the index in no file: model.layers.7.mlp.up_proj.weight" in message
    assert "is in no file" in load(spec(folder, allow_missing=True)).notes[0]


def test_shards_that_lack_tensors_of_the_model(a_copy):
    _, differences = refused(sharded(a_copy(), {}, without(HEAD)))
    assert differences.missing == (HEAD,)


@pytest.mark.parametrize("name", ["/etc/passwd", "../other.safetensors", "a/../../b"])
def test_an_index_names_no_file_outside_its_folder(a_copy, name):
    folder = a_copy()
    (folder / "model.safetensors").unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(DamagedFileError, match="outside its folder"):
        weight_files(folder, allow_pickle=False)
    with pytest.raises(DamagedFileError, match="outside its folder"):
        weight_files(folder, allow_pickle=False, named=name)


def test_what_is_checked_is_what_is_loaded(a_copy):
    folder = a_copy()
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "gone.safetensors"}}))
    assert weight_files(folder, allow_pickle=False).tensors == tuple(tensors(folder / "model.safetensors"))
    load(spec(folder))


def test_the_file_that_a_configuration_names_is_the_one_that_is_checked(a_copy):
    folder = a_copy()
    (folder / "model.safetensors").rename(folder / "own.safetensors")
    change_config(folder, transformers_weights="own.safetensors")
    assert load(spec(folder)).weights.rows() == ()
    (folder / "own.safetensors").write_bytes(b"short")
    assert "truncated" in refusal(folder, DamagedFileError)
    change_config(folder, transformers_weights="../copy/own.safetensors")
    assert "outside its folder" in refusal(folder, DamagedFileError)


def pickled(folder, change=lambda _weights: None):
    """The weights as a pickle."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    change(weights)
    torch.save(weights, folder / "pytorch_model.bin")
    return folder


def test_pickled_weights_are_compared_too(a_copy):
    message, differences = refused(pickled(a_copy("a"), without(*(HEAD, "model.norm.weight"))), allow_pickle=True)
    assert differences.missing == (HEAD, "model.norm.weight")
    assert "2 tensors missing" in message
    loaded = load(spec(pickled(a_copy("b"), with_more(extra=torch.zeros(2))), allow_pickle=True))
    assert loaded.weights.unused == ("extra",)
    _, differences = refused(pickled(a_copy("c"), with_more(**{HEAD: torch.zeros(9, 32)})), allow_pickle=True)
    assert differences.mismatched == (ShapeMismatch(HEAD, (9, 32), (320, 32)),)


def test_a_pickled_shard_that_is_not_there(a_copy):
    folder = pickled(a_copy())
    (folder / "pytorch_model.bin").rename(folder / "pytorch_model-00001-of-00002.bin")
    index = {"weight_map": {name: f"pytorch_model-0000{name}-of-00002.bin" for name in "12"}}
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps(index))
    assert "pytorch_model-00002-of-00002.bin" in refusal(folder, DamagedFileError, allow_pickle=True)


def test_a_gguf_file_is_compared_too(tmp_path):
    names = [f"blk.{layer}.ffn_up.weight" for layer in range(2)]
    message, differences = refused(write_llama_gguf(tmp_path / "a.gguf", without(*names)))
    assert differences.missing == tuple(f"model.layers.{layer}.mlp.up_proj.weight" for layer in range(2))
    assert "model.layers.*.mlp.up_proj.weight (2)" in message

    reshaped = write_llama_gguf(tmp_path / "b.gguf", with_more(**{names[1]: np.ones((48, 32), np.float32)}))
    _, differences = refused(reshaped)
    assert differences.mismatched == (ShapeMismatch("model.layers.1.mlp.up_proj.weight", (48, 32), (64, 32)),)


def test_what_transformers_drops_from_a_gguf_file_is_named(tmp_path):
    assert load(spec(write_llama_gguf(tmp_path / "a.gguf"))).weights.rows() == ()
    biases = {f"blk.{layer}.attn_q.bias": np.ones(32, np.float32) for layer in range(2)}
    more = with_more(**biases, **{"rope_freqs.weight": np.ones(4, np.float32)})
    loaded = load(spec(write_llama_gguf(tmp_path / "b.gguf", more)))
    assert loaded.weights.unused == (*biases, "rope_freqs.weight")
    assert "blk.*.attn_q.bias (2), rope_freqs.weight" in loaded.notes[0]


def test_a_quantised_checkpoint_is_compared_too(a_copy, tmp_path):
    folder = tmp_path / "quantised"
    loaded = load(spec(a_copy(), quantize="8bit", device="cpu"))
    loaded.model.save_pretrained(folder)
    loaded.tokenizer.save_pretrained(folder)
    assert load(spec(folder, device="cpu")).weights.rows() == ()

    weights = load_file(folder / "model.safetensors")
    lost = "model.layers.1.mlp.up_proj.weight"
    del weights[lost]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert refused(folder, device="cpu")[1].unconverted == (lost,)


def test_experts_that_are_missing_or_misshapen_are_named_although_transformers_fails_on_them(tmp_path):
    tiny_model("mixtral").save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    assert load(spec(tmp_path)).weights.rows() == ()
    weights = load_file(tmp_path / "model.safetensors")
    expert = "model.layers.1.block_sparse_moe.experts.2.w1.weight"
    for change in (without(expert), with_more(**{expert: torch.zeros(3, 3)})):
        changed = dict(weights)
        change(changed)
        save_file(changed, tmp_path / "model.safetensors", metadata={"format": "pt"})
        message, differences = refused(tmp_path)
        assert differences.unconverted == ("model.layers.1.mlp.experts.gate_up_proj",)
        assert "1 tensor not to be made of the stored ones: model.layers.1.mlp.experts.gate_up_proj" in message


def test_patterns_stand_for_every_name():
    names = [f"a.{layer}.{part}.w" for layer in range(4) for part in "xyz"]
    assert grouped(names, 4) == "a.*.x.w (4), a.*.y.w (4), a.*.z.w (4)"
    assert grouped(names, 9) == "a.0-3.x.w (4), a.0-3.y.w (4), a.0-3.z.w (4)"
    assert grouped(names, 4, most=2) == "a.*.* (12)"
    assert grouped(["a.3.w", "a.1.w", "a.2.w", "a.7.w"]) == "a.1-3,7.w (4)"
    assert grouped(["b"]) == "b"
    assert grouped(map(str, "abcdef"), most=4) == "a, b, c, d, and 2 others"
    assert grouped(["#.1", "#.2"]) in ("#.1-2 (2)", "1-2.# (2)")
    assert len(grouped(["w" * 10_000, "x.1"])) < 200


def test_layer_10_comes_after_layer_9():
    huge = f"l.{'9' * 9000}"  # which Python does not read as a number
    assert in_layer_order(["l.10.a", "l.9.a", "k", huge]) == ("k", huge, "l.9.a", "l.10.a")
