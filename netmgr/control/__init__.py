"""The control API on the unix socket."""
