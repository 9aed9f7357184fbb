"""Owns: where the documents' commands run: a world in which the names that they use lead somewhere.

`sudo` is a stand-in that does what sudo does to the environment: it forgets it.
"""

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Final

import yaml
from acceptance.inference.provider import Provider
from docs.blocks import Block, Command, unlike
from world import World
from world.environment import clean_environment
from world.streams import Stream
from world.web import Request, fixed, response

ROOT: Final = Path(__file__).parents[2]
COMMAND_S: Final = 20.0
SITES: Final = ("example.com", "api.example.com", "registry.example.com")
LAB: Final = ("127.0.0.1", 8000)  # where docs/inference.md starts its model server
KEY: Final = "sk-of-the-operator"


class Stage:
    """A world with a daemon and the internet of the documents."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.home = world.directory / "home"
        self.home.mkdir()
        words = world.directory / "block_words.py"  # where any user may read it
        words.write_bytes((ROOT / "examples/middleware/block_words.py").read_bytes())
        words.chmod(0o755)
        world.daemon(middleware_programs={"example/block-words": str(words)})
        for name in SITES:
            world.internet.https(name, fixed(b"<title>Example Domain</title>\n"))
        for name in ("api.openai.com", "api.anthropic.com"):
            world.internet.model(name)
        self._lab = Provider(world.host, *LAB)
        self._serve_git()
        self._env = self._make_env()
        (self.home / "examples").symlink_to(ROOT / "examples")

    def close(self) -> None:
        """End what is not the world's."""
        self._lab.close()

    def begin(self) -> None:
        """Nothing of another document is left."""
        self._world.netmgrd.delete_sandboxes()
        api = self._world.netmgrd.api
        api("DELETE", "/v1/inference")
        for provider in api("GET", "/v1/providers")[1]["providers"]:
            api("DELETE", f"/v1/providers/{provider['name']}?force=1")

    def run(self, block: Block) -> list[str]:
        """Run one block; what is not as the text says."""
        kind, value = block.note
        if kind == "file":
            (self.home / value).write_text(block.text)
        sandbox = value if kind == "inside" else None
        return list(unlike(block, lambda command: self._run(command, sandbox)))

    def _run(self, command: Command, sandbox: str | None) -> tuple[int, str]:
        words = ["bash", "-e", "-c", command.text]
        if command.language == "python":
            words = [sys.executable, "-I", "-c", command.text]
        if sandbox is not None:
            words = ["netmgr", "sandbox", "exec", sandbox, "--", *words]
        done = subprocess.run(
            self._world.host.command(*words), env=self._env, cwd=self.home, timeout=COMMAND_S,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False,
        )  # fmt: skip
        return done.returncode, done.stdout

    def _make_env(self) -> dict[str, str]:
        programs = self._world.directory / "bin"
        programs.mkdir()
        socket = f"NETMGR_SOCKET={self._world.netmgrd.socket}"
        path = f"PATH={programs}:{os.environ['PATH']}"
        netmgr = f'exec {shlex.quote(sys.executable)} -I -m netmgr_cli "$@"'
        sudo = f'exec env -i {shlex.quote(path)} HOME=/root {shlex.quote(socket)} "$@"'
        python = f'exec {shlex.quote(sys.executable)} "$@"'  # where the library is installed
        for name, line in (("netmgr", netmgr), ("sudo", sudo), ("python3", python)):
            (programs / name).write_text(f"#!/bin/sh\n{line}\n")
            (programs / name).chmod(0o755)
        more = dict(item.split("=", 1) for item in (socket, path))
        return clean_environment(
            **more, OPENAI_API_KEY=KEY, ANTHROPIC_API_KEY=KEY, COLUMNS="80", HOME=str(self.home)
        )

    def _serve_git(self) -> None:
        """A repository on the host that the example policy names, by git's dumb protocol."""
        policy = yaml.safe_load((ROOT / "examples/policies/github-read-only.yaml").read_text())
        host = policy["network_policies"]["git"]["endpoints"][0]["host"]
        repository = self._world.directory / "tools.git"
        tree = self._world.directory / "tools"
        script = """
            git init -q "$2" && cd "$2" && echo hello > README && git add README
            git -c user.name=t -c user.email=t@example.com commit -q -m first
            git clone -q --bare "$2" "$1" && git -C "$1" update-server-info
        """
        subprocess.run(
            ["bash", "-ec", script, "-", repository, tree],
            check=True, timeout=COMMAND_S, env=clean_environment(HOME=str(self.home)),
        )  # fmt: skip

        async def behave(request: Request, stream: Stream) -> None:
            path = request.target.partition("?")[0].partition("tools.git/")[2]
            file = repository / path
            found = path and ".." not in path and file.is_file()
            body = file.read_bytes() if found else b""
            await stream.write(response(200 if found else 404, body, "text/plain"))

        self._world.internet.https(host, behave)
