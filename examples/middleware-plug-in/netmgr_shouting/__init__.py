"""A middleware of netmgr's as a plug-in."""
