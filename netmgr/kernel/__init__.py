"""The kernel room: namespaces, links, sets, rules and sockets of the hub. See README.md here."""
