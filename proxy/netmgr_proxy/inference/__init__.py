"""The inference room: what becomes of a model call. Pure; the proxy's exchange does the I/O."""
