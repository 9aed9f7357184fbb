"""Owns: the driver `netmgr` of netavark, podman's network program (its plugin API 1.0.0), and the
front before a netavark that is too old for drivers of others (before 1.6).
"""
