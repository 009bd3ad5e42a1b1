"""`sys.exit` with a text, from inside a function, with `finally` and exit handlers."""

import atexit
import sys

import torch
from tiny_models import bits, llama


def main():
    try:
        print(bits(llama()(torch.tensor([[1, 2]])).logits))
        sys.exit("no more ids")
    finally:
        print("finally")


@atexit.register
def last():
    print("at exit", __name__, file=sys.stderr)
    print("at exit")


main()
