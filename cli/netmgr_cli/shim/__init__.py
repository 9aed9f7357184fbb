"""Owns: what runtimes execute for every container (CNI, netavark, OCI hooks).

Standard library only, and of that only what starts fast: a plugin is a new process each time, and
its interpreter's start is most of what it costs. So no dataclasses, typing, argparse, pathlib,
http.client here; `tests/project/test_layers.py` keeps it so. The work is the daemon's.
"""
