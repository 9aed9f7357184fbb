"""The command line, and the daemon's composition root."""
