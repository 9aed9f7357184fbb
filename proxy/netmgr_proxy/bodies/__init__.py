"""Owns: reading what a request asks for inside of its body: bytes in, `netmgr.policy.calls` out.

`strict_json.py` reads JSON that no two parsers read differently, `graphql.py` and `rpc.py` what it
says, `media.py` which bodies can be read at all, `reading.py` chooses. Pure; nothing here decides.
"""
