"""A real engine: llama.cpp's server on the host's loopback, asked from a sandbox.

Its model is made by the test, so the answers mean nothing; their form, their events and their token
counts are a real server's. `packaging/setup.sh nightly` builds the engine.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from nightly.tiny_model import write_tiny_model
from world import Sandbox, World
from world.environment import clean_environment

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.timeout(300)]

ENGINE: Final = Path(__file__).resolve().parents[2] / ".cache" / "llama" / "bin" / "python"
PORT: Final = 8080  # llama.cpp's own, and what the provider type says
START_S: Final = 120.0
MODEL: Final = "tiny"
BASE: Final = "https://inference.local/v1"
ASKED: Final = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8}


@contextmanager
def engine(world: World, model: Path) -> Iterator[None]:
    """The server, on the loopback of the world's host."""
    words = [str(ENGINE), "-m", "llama_cpp.server", "--model", str(model), "--model_alias", MODEL]
    words += ["--host", "127.0.0.1", "--port", str(PORT), "--chat_format", "chatml"]
    story = model.with_suffix(".log")
    with story.open("wb") as log:
        process = subprocess.Popen(
            world.host.command(*words),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=clean_environment() | {"HOME": str(model.parent)},
        )
    try:
        deadline = time.monotonic() + START_S
        probe = ["curl", "-sf", "-o", "/dev/null", f"http://127.0.0.1:{PORT}/v1/models"]
        while world.host.run(*probe).returncode:
            assert process.poll() is None, story.read_text()
            assert time.monotonic() < deadline, story.read_text()
            time.sleep(0.5)
        yield
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """A sandbox whose inference.local leads to the engine; verification was on."""
    if not os.access(ENGINE, os.X_OK):
        pytest.skip(f"no engine at {ENGINE}: packaging/setup.sh nightly")
    model = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_tiny_model(model)
    with World() as world, engine(world, model):
        world.daemon()
        for words in (
            ("provider", "create", "--name", "llama", "--type", "llama-cpp"),
            ("inference", "set", "--provider", "llama", "--model", MODEL, "--timeout", "60"),
        ):
            done = world.netmgr(*words, timeout=90)
            assert done.returncode == 0, done.stderr
        yield world.sandbox("box")


def ask(box: Sandbox, path: str, body: dict[str, Any]) -> str:
    """What curl prints of one call from inside."""
    words = ["curl", "-sS", "--fail-with-body", f"{BASE}/{path}"]
    words += ["-H", "content-type: application/json", "-d", json.dumps(body)]
    done = box.run(*words, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_chat_is_answered_and_its_tokens_are_counted(box: Sandbox) -> None:
    box.forget_records()
    answer = json.loads(ask(box, "chat/completions", {"model": "whatever", **ASKED}))
    assert answer["model"] == MODEL
    assert answer["choices"][0]["message"]["role"] == "assistant"
    usage = answer["usage"]
    counted = box.wait_record(lambda record: record["kind"] == "inference")["inference"]
    assert (counted["tokens_in"], counted["tokens_out"]) == (
        usage["prompt_tokens"],
        usage["completion_tokens"],
    )
    assert counted["provider"] == "llama"


def test_a_stream_comes_event_by_event(box: Sandbox) -> None:
    text = ask(box, "chat/completions", {"model": MODEL, "stream": True, **ASKED})
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events[-1] == "[DONE]"
    assert all(json.loads(event)["object"] == "chat.completion.chunk" for event in events[:-1])


def test_completions_and_the_list_of_models(box: Sandbox) -> None:
    answer = json.loads(ask(box, "completions", {"model": MODEL, "prompt": "a", "max_tokens": 4}))
    assert answer["object"] == "text_completion"
    listed = json.loads(box.run("curl", "-sS", f"{BASE}/models").stdout)
    assert MODEL in [each["id"] for each in listed["data"]]


def test_the_sdk_in_a_sandbox(box: Sandbox) -> None:
    program = (
        "import openai;"
        f"c = openai.OpenAI(base_url={BASE!r}, api_key='unused');"
        f"a = c.chat.completions.create(model={MODEL!r}, max_tokens=8,"
        " messages=[{'role': 'user', 'content': 'hello'}]);"
        "print(a.usage.completion_tokens)"
    )
    done = box.run(sys.executable, "-I", "-c", program, user="root", timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 0  # llama.cpp counts the token that ends it, too
