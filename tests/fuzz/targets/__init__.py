"""Owns: the targets, one file for each parser. tests/fuzz/catalogue.py says what a target is."""
