"""Owns: fuzzing: a target for each parser of hostile bytes, seeds, and ways to run them."""
