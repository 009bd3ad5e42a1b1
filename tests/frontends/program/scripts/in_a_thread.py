"""The model is called in a thread alone: the streamer's pattern, and an executor."""

from concurrent.futures import ThreadPoolExecutor
from threading import Thread

import torch
from tiny_models import bits, llama
from transformers import TextIteratorStreamer


class Ids:
    """A tokenizer for the streamer."""

    def decode(self, ids, **_):
        return " ".join(str(int(each)) for each in ids) + " "


model, ids = llama(), torch.tensor([[5, 17, 33]])
streamer = TextIteratorStreamer(Ids(), timeout=60)
thread = Thread(
    target=model.generate, args=(ids,), kwargs={"streamer": streamer, "max_new_tokens": 4, "do_sample": False}
)
thread.start()
for text in streamer:
    print(text, end="", flush=True)
thread.join()
print()
with ThreadPoolExecutor(2) as pool:
    print(list(pool.map(lambda each: bits(model(each).logits), [ids, ids + 1])))
