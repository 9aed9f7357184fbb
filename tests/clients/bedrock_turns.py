"""Owns: what a program does with AWS's SDK, inside a sandbox. Prints one JSON object per turn.

    python -I bedrock_turns.py converse converse_stream invoke ...

Unmodified SDK; only the endpoint is set, as a user would. The keys are placeholders.
"""

import json
import sys

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError

MODEL = "anthropic.what-the-agent-asks-for-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "say something"}]}]
BODY = json.dumps({"messages": [], "max_tokens": 5})


def converse(client):
    """A buffered answer."""
    answer = client.converse(modelId=MODEL, messages=MESSAGES)
    text = answer["output"]["message"]["content"][0]["text"]
    return {"text": text, "tokens": answer["usage"]["totalTokens"]}


def converse_stream(client):
    """The same, word by word."""
    events = list(client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"])
    deltas = [event["contentBlockDelta"]["delta"]["text"] for event in events[1:-3]]
    return {"text": "".join(deltas), "usage": events[-1]["metadata"]["usage"]}


def invoke(client):
    """The model's own shape."""
    answer = json.load(client.invoke_model(modelId=MODEL, body=BODY)["body"])
    return {"text": answer["content"][0]["text"]}


def invoke_stream(client):
    """The same in pieces."""
    stream = client.invoke_model_with_response_stream(modelId=MODEL, body=BODY)["body"]
    pieces = [json.loads(event["chunk"]["bytes"]) for event in stream]
    return {"kinds": [piece["type"] for piece in pieces]}


def count_tokens(client):
    """A request that is in no pattern."""
    client.count_tokens(modelId=MODEL, input={"converse": {"messages": MESSAGES}})
    return {}


TURNS = {turn.__name__: turn for turn in (
    converse, converse_stream, invoke, invoke_stream, count_tokens
)}  # fmt: skip


def main():
    """Every turn that is named, one line each; what is raised is told."""
    client = boto3.client(
        "bedrock-runtime",
        endpoint_url="https://inference.local",
        region_name="us-east-1",
        aws_access_key_id="AKIDPLACEHOLDER",
        aws_secret_access_key="placeholder",
        config=Config(retries={"max_attempts": 1}),
    )
    for name in sys.argv[1:]:
        try:
            said = TURNS[name](client)
        except (ClientError, EventStreamError) as raised:
            error = raised.response["Error"]
            said = {"raised": type(raised).__name__, "code": error["Code"]}
            said |= {"message": error["Message"]}
        print(json.dumps({"turn": name, **said}), flush=True)


main()
