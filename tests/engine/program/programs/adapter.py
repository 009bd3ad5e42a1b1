"""`generate()` of a model with a LoRA adapter, which calls the model inside."""

import torch
from peft import LoraConfig, get_peft_model

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

torch.manual_seed(0)
lora = LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM", init_lora_weights=False)
model = get_peft_model(tiny_model("llama"), lora)
out = model.generate(
    input_ids=torch.tensor([[5, 17, 33]]),
    max_new_tokens=3,
    do_sample=False,
    output_logits=True,
    return_dict_in_generate=True,
)
print(out.sequences.tolist(), bits(*out.logits))
