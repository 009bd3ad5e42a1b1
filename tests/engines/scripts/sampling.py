"""Three requests in one forward, each with sampling settings of its own. Run as `sampling.py MODEL`."""

import sys

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512)
    asked = ["Once upon a time", "The capital of France is", "One two three four five"]
    settings = [
        SamplingParams(temperature=0, max_tokens=3),
        SamplingParams(temperature=0.9, seed=3, top_k=40, top_p=0.9, min_p=0.01, repetition_penalty=1.2, max_tokens=5),
        SamplingParams(temperature=0.7, seed=5, presence_penalty=0.5, logit_bias={28: 2.0}, max_tokens=4),
    ]
    for each in llm.generate(asked, settings, use_tqdm=False):
        print(each.prompt, each.outputs[0].token_ids)
