"""The dialer: the only process that connects out, and only to what it has judged itself."""
