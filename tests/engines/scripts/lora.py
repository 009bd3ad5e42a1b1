"""The same requests without and with an adapter. Run as `lora.py MODEL`."""

import json
import sys
import tempfile
from pathlib import Path

import torch
from safetensors.torch import save_file
from vllm import LLM, SamplingParams
from vllm.lora.request import LoRARequest

if __name__ == "__main__":
    folder = tempfile.mkdtemp()
    torch.manual_seed(0)
    made = {}
    for layer in range(30):
        for name, out in (("q_proj", 576), ("v_proj", 192)):
            at = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            made[f"{at}.lora_A.weight"] = torch.randn(8, 576) * 0.3
            made[f"{at}.lora_B.weight"] = torch.randn(out, 8) * 0.3
    save_file(made, f"{folder}/adapter_model.safetensors")
    described = {
        "peft_type": "LORA",
        "r": 8,
        "lora_alpha": 16,
        "target_modules": ["q_proj", "v_proj"],
        "bias": "none",
        "base_model_name_or_path": sys.argv[1],
        "task_type": "CAUSAL_LM",
    }
    (Path(folder) / "adapter_config.json").write_text(json.dumps(described))

    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512, enable_lora=True, max_lora_rank=8)
    how = SamplingParams(temperature=0, max_tokens=4)
    for lora in (None, LoRARequest("own", 1, folder)):
        for each in llm.generate(
            ["Once upon a time", "The capital of France is"], how, lora_request=lora, use_tqdm=False
        ):
            print(each.outputs[0].token_ids)
