"""`llmdbg dap`: a debug adapter, through which an editor debugs a model by the Debug Adapter Protocol."""
