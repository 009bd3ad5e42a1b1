"""Tensor-parallel ranks in lockstep: every rank runs the same debugger, and rank 0 decides and shows."""
