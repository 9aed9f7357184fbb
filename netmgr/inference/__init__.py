"""Provider types and routes as values; no I/O."""
