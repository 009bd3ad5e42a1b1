"""Reports: one HTML page each, which needs no network and no script."""
