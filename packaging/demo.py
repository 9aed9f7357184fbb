"""The main job of netmgr in half a minute: `make run`.

Starts a private daemon with embedded defaults and a scripted model on this machine's loopback (so
no key and no network is needed), and shows from inside a new sandbox what gets out, what does not,
and why. Every claim is checked; the exit status is 0 only where all of them hold. Leaves nothing.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

NETMGR: Final = Path(sys.executable).with_name("netmgr")
KEY: Final = "sk-demo-operator-key"  # the scripted model takes any; it shows which one it saw
SANDBOX: Final = "demo"
DEADLINE_S: Final = 30.0
POLICY: Final = """\
version: 1
network_policies:
  anthropic:
    endpoints:
      - {{host: api.anthropic.com, port: 443}}
    binaries: [{{path: "/**"}}]
  reports:
    endpoints:
      - {{host: host.openshell.internal, port: {port}, protocol: rest, access: read-only}}
    binaries: [{{path: "/**"}}]
"""


class Failed(Exception):
    """A claim does not hold."""


class Demo:
    """One private daemon, and a terminal to show it on."""

    def __init__(self, home: Path, model: str) -> None:
        self._home = home
        self._model = model
        self._env = os.environ | {"NETMGR_SOCKET": str(home / "run" / "api.sock")}
        self._colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ

    def say(self, text: str) -> None:
        """A heading."""
        print(f"\n\033[1m{text}\033[0m" if self._colour else f"\n# {text}", flush=True)

    def netmgr(
        self, *words: str, expect: int = 0, text: str | None = None, quiet: bool = False
    ) -> str:
        """Run one command as an operator would, show it and what it prints."""
        if not quiet:
            print(f"$ netmgr {shlex.join(words)}", flush=True)
        done = subprocess.run(
            [NETMGR, *words],
            env=self._env,
            input=text or "",
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        output = done.stdout + done.stderr
        if not quiet:
            print(
                "".join(f"  {line}\n" for line in output.rstrip().splitlines()), end="", flush=True
            )
        if done.returncode != expect:
            raise Failed(f"expected exit status {expect}, got {done.returncode}: {output.strip()}")
        return output

    def inside(self, *words: str, expect: int = 0) -> str:
        """Run one command in the sandbox."""
        return self.netmgr("sandbox", "exec", SANDBOX, "--", *words, expect=expect)

    def requests_to_model(self) -> int:
        """How many requests the model has seen."""
        with urllib.request.urlopen(f"{self._model}/_recorded", timeout=5) as answer:
            lines = answer.read().decode().splitlines()
        return sum('"request"' in line for line in lines)

    def records(self) -> list[dict[str, Any]]:
        """Every decision about traffic, as the journal has it."""
        lines = self.netmgr("observe", "-o", "json", quiet=True).splitlines()
        found = [json.loads(line) for line in lines]
        return [r for r in found if r["kind"] in ("dns", "connection", "http", "inference")]


def require(holds: bool, claim: str) -> None:
    """Show a claim as checked, or end the demonstration."""
    if not holds:
        raise Failed(claim)
    print(f"  -> {claim}", flush=True)


def show(demo: Demo, port: int) -> None:
    """The four things that netmgr is for."""
    demo.say("1. Model calls: the sandbox has neither the key nor a say in the model")
    demo.netmgr(
        "provider", "create", "--name", "local", "--type", "openai",
        "--credential", "OPENAI_API_KEY=-",
        "--config", f"OPENAI_BASE_URL=http://host.openshell.internal:{port}/v1",
        text=KEY,
    )  # fmt: skip
    demo.netmgr("inference", "set", "--provider", "local", "--model", "demo-model")
    answer = demo.inside(
        "curl", "-sS", "https://inference.local/v1/chat/completions",
        "-H", "authorization: Bearer unused",
        "-d", '{"model":"anything","messages":[{"role":"user","content":"hello"}]}',
    )  # fmt: skip
    require('"model":"demo-model"' in answer, "the model was rewritten to demo-model")
    require(
        KEY not in answer and "credential sha256:" in answer, "the placeholder key was replaced"
    )

    demo.say("2. An endpoint that the policy allows: by name, no proxy variables, plain curl")
    answer = demo.inside("curl", "-sS", f"http://host.openshell.internal:{port}/v1/models")
    require('"object":"list"' in answer, "it answered")

    demo.say("3. A typing error in a host name: refused at once, nobody receives a byte")
    seen = demo.requests_to_model()
    demo.inside("curl", "-sS", "https://api.entropics.com/v1/messages", expect=6)
    began = time.monotonic()
    demo.inside("curl", "-sS", "--connect-timeout", "5", "https://203.0.113.7/", expect=7)
    took = time.monotonic() - began
    require(took < 3, "its address was refused at once as well, not by a time-out")
    told = demo.netmgr(
        "policy", "explain", SANDBOX, "https://api.entropics.com/v1/messages", expect=6
    )
    require("no_matching_rule" in told, "the reason is told")
    require("api.anthropic.com" in told, "and the nearest name that is allowed")
    require("--add-endpoint api.entropics.com:443" in told, "and the line that would allow it")
    require(demo.requests_to_model() == seen, "no provider received a byte")


def check_records(demo: Demo) -> None:
    """The journal has exactly these decisions."""
    demo.say("4. Every decision is on record, outside of the sandbox")
    demo.netmgr("observe", "--sandbox", SANDBOX)
    found = {(r["kind"], r["verdict"], r["reason"], _where(r)) for r in demo.records()}
    wanted = {
        ("dns", "allowed", "allowed", "inference.local"),
        ("inference", "allowed", "allowed", "inference.local"),
        ("dns", "allowed", "allowed", "host.openshell.internal"),
        ("http", "allowed", "allowed", "host.openshell.internal"),
        ("dns", "denied", "no_matching_rule", "api.entropics.com"),
        ("connection", "denied", "raw_ip", "203.0.113.7"),
    }
    fixed = {"inference.local", "host.openshell.internal"}  # curl may find these two in /etc/hosts
    extra = {row for row in found - wanted if not (row[0] == "dns" and row[3] in fixed)}
    missing = {row for row in wanted - found if not (row[0] == "dns" and row[3] in fixed)}
    require(not missing, f"nothing is missing{': ' + str(missing) if missing else ''}")
    require(not extra, f"and nothing else is there{': ' + str(extra) if extra else ''}")


def _where(record: dict[str, Any]) -> str:
    destination = record["destination"]
    return destination["name"] or destination["ip"]


@contextmanager
def process(words: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A process of ours, ended with the block."""
    with subprocess.Popen(words, text=True, **options) as running:
        try:
            yield running
        finally:
            if running.poll() is None:
                running.send_signal(signal.SIGTERM)
                try:
                    running.wait(DEADLINE_S)
                except subprocess.TimeoutExpired:
                    running.kill()


def wait_for(socket: Path, daemon: subprocess.Popen[str]) -> None:
    """Until the daemon answers."""
    end = time.monotonic() + DEADLINE_S
    while not socket.exists():
        if daemon.poll() is not None or time.monotonic() > end:
            raise Failed("the daemon did not start; `netmgr doctor` says what this host lacks")
        time.sleep(0.05)


def run(stack: ExitStack, home: Path) -> None:
    """Model, daemon, demonstration, end."""
    python = [sys.executable, "-I", "-m"]
    model = stack.enter_context(
        process([*python, "netmgr.testing.model_server"], stdout=subprocess.PIPE)
    )
    assert model.stdout is not None
    url = model.stdout.readline().split()[-1]
    port = int(url.rpartition(":")[2])
    demo = Demo(home, url)
    demo.say(f"A private netmgr: state in {home}, a scripted model at {url}")
    log = stack.enter_context((home / "daemon.log").open("w"))
    words = [*python, "netmgr_cli", "daemon", "--instance", f"demo{os.getpid()}"]
    words += ["--state-dir", str(home / "state"), "--run-dir", str(home / "run")]
    daemon = stack.enter_context(process(words, stderr=log))
    try:
        wait_for(home / "run" / "api.sock", daemon)
        policy = home / "policy.yaml"
        policy.write_text(POLICY.format(port=port))
        demo.netmgr("sandbox", "create", SANDBOX, "--policy", str(policy))
        show(demo, port)
        check_records(demo)
    except (Failed, subprocess.TimeoutExpired):
        print((home / "daemon.log").read_text(), file=sys.stderr)
        raise
    finally:
        if daemon.poll() is None:
            _remove_everything(demo)


def _remove_everything(demo: Demo) -> None:
    subprocess.run(
        ["curl", "-sS", "-X", "POST", "--unix-socket", demo._env["NETMGR_SOCKET"],
         "-H", "content-type: application/json", "-d", '{"remove": true}',
         "http://netmgr/v1/shutdown"],
        stdout=subprocess.DEVNULL, timeout=DEADLINE_S, check=False,
    )  # fmt: skip


def main() -> int:
    """The exit status."""
    if os.geteuid() != 0:
        print(
            "make run needs root: it makes network namespaces. Try: sudo make run", file=sys.stderr
        )
        return 1
    began = time.monotonic()
    home = Path(tempfile.mkdtemp(prefix="netmgr-demo-"))
    home.chmod(0o755)  # the sandbox's certificates below it are for everybody
    try:
        with ExitStack() as stack:
            run(stack, home)
    except Failed as failure:
        print(f"\nmake run: FAILED: {failure}", file=sys.stderr)
        return 1
    finally:
        shutil.rmtree(home, ignore_errors=True)
    print(f"\nmake run: everything above was checked, in {time.monotonic() - began:.0f} s. Next:")
    print("  sudo .venv/bin/netmgr run --allow example.com -- curl -sS https://example.com")
    print("  sudo make install    # as a service: docs/quickstart.md")
    print("  docs/policy.md, docs/inference.md, docs/troubleshooting.md")
    return 0


if __name__ == "__main__":
    sys.exit(main())
