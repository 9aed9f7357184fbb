"""What netmgrd does: the lives of sandboxes, their policies and routes, and who is told of it."""
