"""A LoRA adapter: generated with it, without it, and merged."""

import torch
from peft import LoraConfig, get_peft_model
from tiny_models import bits, llama

model = llama()
torch.manual_seed(1)
lora = LoraConfig(r=2, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
model = get_peft_model(model, lora)
model.print_trainable_parameters()
ids = torch.tensor([[5, 17, 33]])
how = {"max_new_tokens": 3, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
print(bits(*model.generate(input_ids=ids, **how).logits))
with model.disable_adapter():
    print(bits(*model.generate(input_ids=ids, **how).logits))
print(bits(*model.merge_and_unload().generate(ids, **how).logits))
