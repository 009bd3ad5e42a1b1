"""Any program that calls an `nn.Module`, as a debuggee."""
