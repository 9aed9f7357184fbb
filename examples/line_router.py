#!/usr/bin/env python3
"""A router for netmgr that is a program of its own: the largest context window first.

    # /etc/netmgr/netmgr.yaml
    model_routers: ["widest=/usr/local/lib/netmgr/line_router.py"]

netmgr asks in JSON lines on standard input; docs/model-routing.md has the contract. Nothing but the
standard library is needed, and any language would do.
"""

import json
import sys


def main() -> None:
    """Answer until netmgr closes the channel."""
    for line in sys.stdin:
        asked = json.loads(line)
        match asked["do"]:
            case "validate":
                problems = [f"config.{key}: unknown" for key in asked["config"]]
                answer = {"id": asked["id"], "problems": problems}
            case "order":
                ranked = sorted(asked["permitted"], key=lambda e: -(e["facts"]["context"] or 0))
                answer = {"id": asked["id"], "order": [each["id"] for each in ranked]}
            case _:
                continue
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
