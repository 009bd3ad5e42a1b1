"""Answers that a grammar confines. Run as `structured.py MODEL`."""

import sys

from vllm import LLM, SamplingParams
from vllm.sampling_params import StructuredOutputsParams

if __name__ == "__main__":
    llm = LLM(sys.argv[1], dtype="float32", enforce_eager=True, max_model_len=512)
    one_of = StructuredOutputsParams(choice=["Positive", "Negative"])
    how = SamplingParams(temperature=0, max_tokens=8, structured_outputs=one_of)
    for each in llm.generate(["I love it. Sentiment:", "I really love it! Sentiment:"], how, use_tqdm=False):
        print(each.outputs[0].token_ids, each.outputs[0].text)
