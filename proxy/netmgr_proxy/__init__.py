"""The proxy's room: TLS, HTTP, egress and inference."""
