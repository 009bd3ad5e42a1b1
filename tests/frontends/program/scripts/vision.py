"""A vision-language model: pixels and ids."""

import torch
from tiny_models import COMMON, bits, widened
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

torch.manual_seed(0)
vision = CLIPVisionConfig(
    hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, image_size=8, patch_size=4
)
text = LlamaConfig(**COMMON, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
model = widened(LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=text, image_token_id=127)))
ids = torch.tensor([[5, 127, 127, 127, 127, 33]])
how = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
out = model.generate(input_ids=ids, pixel_values=torch.randn(1, 3, 8, 8), attention_mask=torch.ones_like(ids), **how)
print(out.sequences.tolist(), bits(*out.logits))
