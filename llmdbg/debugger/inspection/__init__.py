"""What `info lens`, `attention`, `kv`, `values`, `nonfinite` and `cost` answer: a file for each question.

Each has `ask(inspector, arguments)`, which reads the arguments, has the token's forward looked at where that is needed,
asks the probes and returns one frozen value.
"""
