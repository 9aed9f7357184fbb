"""The only process that opens a socket to the outside."""
