"""An evaluation of multiple choice as harnesses do it: the log-likelihood of every ending, in batches by length."""

import json
from pathlib import Path

import torch
from tiny_models import llama
from tqdm import tqdm

model = llama()
torch.manual_seed(4)
tasks, requests = [], []
for at in range(6):
    prompt = torch.randint(1, 128, (4,)).tolist()
    endings = [torch.randint(1, 128, (length,)).tolist() for length in (2, 3)]
    tasks.append((endings, at % 2))
    requests += [(at, choice, prompt + ending, len(ending)) for choice, ending in enumerate(endings)]
requests.sort(key=lambda each: -len(each[2]))
scores = {}
with torch.inference_mode():
    for begin in tqdm(range(0, len(requests), 4), desc="loglikelihood"):
        chunk = requests[begin : begin + 4]
        longest = max(len(each[2]) for each in chunk)
        ids = torch.tensor([each[2] + [0] * (longest - len(each[2])) for each in chunk])
        found = model(ids[:, :-1]).logits.log_softmax(-1)
        for row, (at, choice, whole, size) in enumerate(chunk):
            span = found[row, len(whole) - size - 1 : len(whole) - 1]
            scores[at, choice] = span.gather(-1, torch.tensor(whole[-size:])[:, None]).sum().item()
right = [int(max((0, 1), key=lambda each: scores[at, each]) == answer) for at, (_, answer) in enumerate(tasks)]
found = {"acc": sum(right) / len(right), "scores": sorted(map(str, scores.items()))}
Path("results.json").write_text(json.dumps(found))
print("acc", found["acc"])
