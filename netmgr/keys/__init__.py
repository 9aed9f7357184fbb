"""What is secret, and what is trusted: the vault, the authorities, the files of sandboxes."""
