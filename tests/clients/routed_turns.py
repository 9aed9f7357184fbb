"""Owns: what a program with the OpenAI SDK asks inside a sandbox that a routing file governs.

    python -I routed_turns.py PROMPT...

Unmodified SDK. Prints one JSON object per prompt: what was answered, or what was raised, and the
id by which the operator finds the decision.
"""

import json
import sys

import openai


def main(prompts):
    """Ask every prompt, once buffered and once as a stream."""
    client = openai.OpenAI(
        base_url="https://inference.local/v1", api_key="unused", max_retries=0, timeout=20
    )
    for prompt in prompts:
        messages = [{"role": "user", "content": prompt}]
        try:
            raw = client.chat.completions.with_raw_response.create(model="any", messages=messages)
            chunks = client.chat.completions.create(model="any", messages=messages, stream=True)
            streamed = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
            said = {
                "text": raw.parse().choices[0].message.content,
                "streamed": streamed,
                "request_id": raw.headers["x-netmgr-request-id"],
                "headers": sorted(name for name in raw.headers if name.startswith("x-netmgr-")),
            }
        except openai.APIStatusError as raised:
            body = raised.response.json()["error"]
            said = {"raised": type(raised).__name__, "status": raised.status_code, **body}
        print(json.dumps(said), flush=True)


main(sys.argv[1:])
