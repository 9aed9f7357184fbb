"""Owns: what a network policy says and how it is judged. Values and decisions only; no I/O."""
