"""The answers of `info lens`, `attention`, `kv`, `values`, `nonfinite` and `cost`: one file per question.

Each has `ask(inspector, arguments)`, which parses the arguments, reruns the token if needed, runs the probes and
returns one frozen value.
"""
