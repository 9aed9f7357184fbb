"""Owns: what a program does with LangChain, inside a sandbox. Prints one JSON object per turn.

python -I langchain_turns.py invoke stream tool embed
"""

import json
import sys

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import tool as as_tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

URL = "https://inference.local/v1"


@as_tool
def look(word: str) -> str:
    """Look a word up."""
    return f"{word} is 42"


def invoke(model):
    """A buffered answer."""
    return {"text": model.invoke("say something").content}


def stream(model):
    """The same, word by word."""
    words = [chunk.content for chunk in model.stream("say something")]
    return {"text": "".join(words), "pieces": len(words)}


def tool(model):
    """A tool is called, and its result sent back."""
    bound = model.bind_tools([look])
    asked = bound.invoke([HumanMessage("look")])
    (call,) = asked.tool_calls
    result = ToolMessage(look.invoke(call["args"]), tool_call_id=call["id"])
    answer = bound.invoke([HumanMessage("look"), asked, result])
    return {"name": call["name"], "args": call["args"], "text": answer.content}


def embed(_model):
    """A vector."""
    embeddings = OpenAIEmbeddings(
        base_url=URL, api_key="unused", model="any", check_embedding_ctx_length=False
    )
    return {"vector": embeddings.embed_query("p")}


def main():
    """Each turn."""
    model = ChatOpenAI(base_url=URL, api_key="unused", model="any", max_retries=0, timeout=20)
    for name in sys.argv[1:]:
        print(json.dumps({"turn": name} | globals()[name](model)), flush=True)


main()
