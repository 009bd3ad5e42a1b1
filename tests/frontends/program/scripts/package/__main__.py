"""Parses arguments, and imports relatively."""

import argparse
import sys

import torch

from .inner.score import score

options = argparse.ArgumentParser()
options.add_argument("ids", type=int, nargs="+")
options.add_argument("--json", action="store_true")
given = options.parse_args()
print(options.prog, __name__, __package__, __spec__.name, sys.argv[1:])
print(score(torch.tensor([given.ids])))
