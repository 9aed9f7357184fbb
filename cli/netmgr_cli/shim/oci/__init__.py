"""Owns: what engines execute for every container: a hook, and a runtime that wraps the real one."""
