"""Asks for a line, then reads the rest of stdin."""

import sys

import torch
from tiny_models import bits, llama

model = llama()
first = input("ids: ")
print(bits(model(torch.tensor([list(map(int, first.split()))])).logits))
for line in sys.stdin:
    print(bits(model(torch.tensor([list(map(int, line.split()))])).logits))
print("end of input")
