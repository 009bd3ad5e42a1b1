"""The command language for programs: `serve --json` and `mcp`, over one long-lived run."""
