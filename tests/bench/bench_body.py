"""What reading, judging and splicing a long body costs, beside one json.loads of the same.

    .venv/bin/python tests/bench/bench_body.py [--quick] [--rounds 60]

Bodies of 1 MiB: a long context (messages of some KiB), a chat of short turns, an agent's session
with tools. Pure CPU, no network, and memory as a worker has it, for both sides of a ratio: large
blocks come from the kernel each time, and a collection does not look at what was imported. The
splice is what a worker does: pieces of the client's own bytes, none of them copied; "joined" is
what one piece of them would cost. Reports; asserts nothing.
"""

import gc
import json
import random
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent))

from rig import Options

from netmgr_proxy.inbox import keep_large_blocks_apart
from netmgr_proxy.inference.rewrite import read_call
from netmgr_proxy.inference.way_out import find_way_out

MIB: Final = 1024 * 1024
WORDS: Final = [
    "the",
    "quick",
    "module",
    "returns",
    "value",
    "don't",
    "of",
    "and",
    "a",
    "“quoted”",
    "in",
    "line\nbreak",
    "café",
    "function",
    "that",
    "😀",
    "is",
    "to",
    "def",
    "self.value",
    "=",
    "[1,",
    "2,",
    "3]",
]


def prose(chooser: random.Random, length: int) -> str:
    """Text with line ends, quotes and a few characters beyond ASCII."""
    text = ""
    while len(text) < length:
        text += " ".join(chooser.choices(WORDS, k=50)) + ".\n"
    return text[:length]


def long_context(chooser: random.Random) -> list[Any]:
    """Documents of some KiB."""
    return [{"role": "user", "content": prose(chooser, 8000)} for _ in range(MIB // 8500)]


def chat(chooser: random.Random) -> list[Any]:
    """Turns of a few sentences."""
    roles = ("user", "assistant")
    return [{"role": roles[n % 2], "content": prose(chooser, 600)} for n in range(MIB // 680)]


def session(chooser: random.Random) -> list[Any]:
    """Tool calls and their results, in parts."""
    turns: list[Any] = []
    for number in range(MIB // 2900):
        call = {"type": "tool_use", "id": f"t{number}", "name": "Read", "input": {"path": "/a/b"}}
        text = {"type": "text", "text": prose(chooser, 300)}
        result = {
            "type": "tool_result",
            "tool_use_id": f"t{number}",
            "content": prose(chooser, 2000),
        }
        turns.append({"role": "assistant", "content": [text, call]})
        turns.append({"role": "user", "content": [result]})
    return turns


def once(call: Callable[[], object]) -> float:
    """Seconds of this thread's CPU."""
    began = time.thread_time()
    call()
    return time.thread_time() - began


def whole(body: bytes) -> Sequence[bytes | memoryview]:
    """What a worker does with it."""
    call = read_call(body)
    find_way_out(call.document)
    return call.pinned("vendor/model").chunks


def main() -> None:
    """Measure and report."""
    asked = Options(__doc__).number("rounds", 60, 5, "of each").read()
    keep_large_blocks_apart()
    chooser = random.Random(4711)
    print("| body of 1 MiB | json.loads ms | whole | ratio | splice alone | joined |")
    print("|---|---|---|---|---|---|")
    for kind in (long_context, chat, session):
        document = {"model": "x", "stream": True, "messages": kind(chooser)}
        body = json.dumps(document, ensure_ascii=False).encode()
        call = read_call(body)
        del document
        gc.collect()
        gc.freeze()
        turns = []
        for _ in range(asked.rounds):
            gc.collect()
            loads = once(lambda body=body: json.loads(body))
            ours = once(lambda body=body: whole(body))
            splice = once(lambda call=call: call.pinned("vendor/model").chunks)
            joined = once(lambda call=call: call.pinned("vendor/model").joined())
            turns.append((loads, ours, splice, joined))
        loads, ours, *_ = (statistics.median(column) * 1e3 for column in zip(*turns, strict=True))
        shares = [statistics.median(turn[n] / turn[0] for turn in turns) for n in (1, 2, 3)]
        cells = " | ".join(f"{share:.3f}" for share in shares)
        print(f"| {kind.__name__} | {loads:.2f} | {ours:.2f} | {cells} |")
    print("\ntargets: the whole 1.2 at most, the splice alone 0.1 at most")


if __name__ == "__main__":
    main()
