#!/usr/bin/python3
"""A middleware of an operator's own: it denies requests whose body holds one of some words.

netmgr.yaml:

    middleware_programs:
      example/block-words: /usr/local/lib/netmgr/block_words.py

and in a policy:

    network_middlewares:
      words:
        middleware: example/block-words
        config: {words: [project-nightfall]}
        endpoints: {include: [api.example.com, inference.local]}

A question is a line of JSON on standard input, an answer a line on standard output, with the
question's number. The body is in base64. Whatever else this program prints goes to standard error.
"""

import base64
import json
import sys


def examine(config: dict, request: dict) -> dict:
    """The answer to one request."""
    body = base64.b64decode(request["body"]).lower()
    found = [word for word in config.get("words", ()) if word.lower().encode() in body]
    if not found:
        return {"decision": "allow", "metadata": {"words": "none"}}
    return {
        "decision": "deny",
        "reason_code": "word_blocked",
        # What was found is told by its kind and number; the words themselves stay out of records.
        "findings": [{"type": "word", "label": "blocked", "count": len(found), "severity": "high"}],
    }


for line in sys.stdin:
    question = json.loads(line)
    answer = examine(question["config"], question["request"])
    print(json.dumps({"id": question["id"], **answer}), flush=True)
