"""Two models of 32 layers, so small that what is measured is the hook and not the layer."""

from __future__ import annotations

from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

LAYERS = 32
_IDS: dict[str, Any] = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}


class ToyConfig(PretrainedConfig):
    """Sizes of `Toy`."""

    model_type = "llmdbg_toy"
    vocab_size: int = 64
    hidden_size: int = 16
    num_hidden_layers: int = LAYERS


class _Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.mlp = nn.Linear(width, width)

    def forward(self, residual: Tensor) -> Tensor:
        return residual + self.mlp(residual)  # type: ignore[no-any-return]


class Toy(PreTrainedModel, GenerationMixin):
    """A language model whose layers are one small matrix each: everything it runs stays in the processor's cache."""

    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(_Block(config.hidden_size) for _ in range(config.num_hidden_layers))
        self.norm = nn.LayerNorm(config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, input_ids: Tensor, return_dict: bool = True) -> CausalLMOutputWithPast:
        residual = self.embed(input_ids[:, -1:])
        for layer in self.layers:
            residual = layer(residual)
        return CausalLMOutputWithPast(logits=self.head(self.norm(residual)))

    def prepare_inputs_for_generation(self, input_ids: Tensor, **_kwargs: Any) -> dict[str, Any]:
        return {"input_ids": input_ids}


def toy() -> PreTrainedModel:
    """32 layers of one matrix."""
    return Toy(ToyConfig(**_IDS)).eval()


def tiny_llama() -> PreTrainedModel:
    """32 real Llama layers, 16 wide: some 200 µs of Python and small kernels run between two stops."""
    config = transformers.LlamaConfig(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=LAYERS,
        num_attention_heads=1,
        num_key_value_heads=1,
        **_IDS,
    )
    with torch.random.fork_rng(devices=[]):
        return transformers.LlamaForCausalLM(config).eval()
