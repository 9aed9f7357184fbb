"""Fakes and scripted upstreams that are shipped, and proven by the suites of the real ones."""
