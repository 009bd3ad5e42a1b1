"""Embeds texts, and scores nothing. Run as `embed.py MODEL`."""

import sys

from vllm import LLM

if __name__ == "__main__":
    llm = LLM(sys.argv[1], runner="pooling", convert="embed", dtype="float32", enforce_eager=True, max_model_len=512)
    for each in llm.embed(["Once upon a time", "The capital of France is"], use_tqdm=False):
        print(each.outputs.embedding[:3])
