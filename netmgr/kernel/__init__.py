"""The kernel's room: namespaces, links, rules, sets, sockets. The only netlink speakers."""
