"""Three requests in one forward, which end one after the other. Run as `several.py MODEL`."""

import sys

from vllm import LLM, SamplingParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512)
    asked = ["Once upon a time", "The capital of France is", "One two three four five"]
    settings = [SamplingParams(temperature=0, max_tokens=most) for most in (3, 5, 4)]
    for each in llm.generate(asked, settings, use_tqdm=False):
        print(each.prompt, each.outputs[0].token_ids)
