"""Owns: the proxy worker: it ends or relays every TCP connection of a sandbox, after a decision."""
