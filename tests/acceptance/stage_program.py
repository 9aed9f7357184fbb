"""A middleware program that does what its configuration says, for test_middleware.py."""

import base64
import json
import os
import sys
import time


def answer(do: str, request: dict) -> dict:
    body = base64.b64decode(request["body"])
    match do:
        case "replace":
            other = body.replace(b"tools/list", b"tools/drop").replace(b"innocent", b"replaced")
            return {"decision": "transform", "body": base64.b64encode(other).decode()}
        case "header":
            return {
                "decision": "transform",
                "headers": [
                    {"write": "x-openshell-middleware-seen", "value": "yes"},
                    {"remove": "x-trace"},
                    {"remove": "authorization"},
                ],
            }
        case "slow":
            time.sleep(2)
        case "die":
            os._exit(3)
        case "junk":
            print("this is no JSON", flush=True)
        case "wrong":
            return {"decision": "perhaps"}
        case "shown":
            names = sorted(name for name, _ in request["headers"])
            facts = {"names": ",".join(names), "uid": str(os.getuid()), "who": request["sandbox"]}
            return {"decision": "allow", "metadata": facts}
    return {"decision": "allow"}


for line in sys.stdin:
    question = json.loads(line)
    said = answer(question["config"].get("do", ""), question["request"])
    print(json.dumps({"id": question["id"], **said}), flush=True)
