"""The resolver's room: hostile datagrams in, answers out."""
