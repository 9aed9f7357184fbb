"""Owns: the CNI plugin (https://www.cni.dev/docs/spec/), versions 0.3.0 to 1.1.0."""
