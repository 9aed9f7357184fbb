"""The accounts room: what model calls use, what they cost, and what they may use. Pure."""
