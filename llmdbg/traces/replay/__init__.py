"""A recording as a debuggee: its stages are events again, in their recorded order, without a model."""
