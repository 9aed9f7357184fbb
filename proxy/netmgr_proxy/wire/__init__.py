"""Owns: bytes in, values out, and the other way round, for TLS hellos and HTTP/1.1. No I/O."""
