"""`pipeline("text-generation")` over a model's folder, which is the first argument."""

import sys

from transformers import pipeline

generate = pipeline("text-generation", model=sys.argv[1])
for each in generate(["The quick", "seven wizards drink"], max_new_tokens=4, do_sample=False):
    print(each[0]["generated_text"])
