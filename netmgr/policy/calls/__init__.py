"""Owns: the decision on what a request asks for inside of its body or its messages.

`call.py` says what was asked, `rules.py` what may be, `schema.py` reads the latter from a policy,
`judge.py` holds one against the other. Bytes are read by the proxy's workers (netmgr_proxy.bodies).
"""
