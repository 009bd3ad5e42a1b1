"""A real vLLM engine in this process as a debuggee: its forward is suspended at every module.

Only this package imports vllm, and only inside functions: it is imported when somebody asks for `--engine vllm`.
"""
