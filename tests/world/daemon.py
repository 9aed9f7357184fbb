"""Owns: netmgr as a test runs it: the daemon in the world's host namespace, and its command line.

The only file of the world that knows how netmgr is started and configured.
"""

import http.client
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Final

import yaml

from world import internet
from world.environment import clean_environment
from world.namespaces import COMMAND_DEADLINE_S, Namespace

START_DEADLINE_S: Final = 90.0  # on two busy cores; it takes about one second on free ones
STOP_DEADLINE_S: Final = 20.0  # flows drain for some seconds
API_DEADLINE_S: Final = 60.0  # as long as clients wait for a change: it may wait for a worker


class Daemon:
    """One netmgr daemon. `start` returns when its API answers; `stop` when it has ended."""

    def __init__(
        self,
        instance: str,
        host: Namespace,
        directory: Path,
        memory: Path,
        config: dict[str, Any],
    ) -> None:
        self.instance = instance
        self.host = host
        self.directory = directory
        self.run_dir = memory / "run"
        self.state_dir = directory / "state"
        self.socket = self.run_dir / "api.sock"
        self.log = directory / "daemon.log"
        self.config_file = directory / "netmgr.yaml"
        self.config = config
        self.process: subprocess.Popen[bytes] | None = None
        self.enter: tuple[str, ...] = ()  # a command that runs it elsewhere, in other files

    @property
    def hub(self) -> Namespace:
        """The namespace that all sandboxes end in."""
        return Namespace(f"{self.instance}-hub")

    @property
    def pid(self) -> int:
        """The main process.

        Raises:
            AssertionError: it does not run.
        """
        assert self.process is not None, "the daemon was not started"
        return self.process.pid

    # -- life ------------------------------------------------------------------------------

    def start(self) -> None:
        """Start and wait until the API answers.

        Raises:
            AssertionError: it ended, or did not answer in time; with the end of its log.
        """
        self.config_file.write_text(yaml.safe_dump(self.config))
        # A daemon never outlives the tests that started it, however they end.
        leash = ["setpriv", "--pdeathsig", "KILL", "--"]
        command = [sys.executable, "-I", "-m", "netmgr_cli", "daemon"]
        command += ["--config", str(self.config_file), "--instance", self.instance]
        command += ["--state-dir", str(self.state_dir), "--run-dir", str(self.run_dir)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*leash, *self.host.command(*self.enter, *command)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=clean_environment(),
                cwd="/",
            )
        deadline = time.monotonic() + START_DEADLINE_S
        while not self._answers():
            assert self.process.poll() is None, self._story("the daemon ended")
            assert time.monotonic() < deadline, self._story("the daemon does not answer")
            time.sleep(0.02)

    def stop(self) -> None:
        """SIGTERM and wait; what does not end is killed, and that is a failure.

        Raises:
            AssertionError: it did not end in time, or not with status 0.
        """
        process, self.process = self.process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(timeout=STOP_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(self._story("the daemon does not end on SIGTERM")) from None
        assert status == 0, self._story(f"the daemon ended with status {status}")

    def kill(self) -> None:
        """SIGKILL, as a crash would be. Its workers see their channel close and end."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()

    def processes(self) -> dict[int, str]:
        """The live processes of this daemon, main and workers: id -> kind as its argv says."""
        found = {}
        for pid in [*self.host.processes(), *self.hub.processes()]:
            argv = _argv(pid)
            if "netmgr_cli.worker" in argv:
                found[pid] = argv[argv.index("netmgr_cli.worker") + 1]
            elif pid == self.pid:
                found[pid] = "main"
        return found

    # -- what a test asks of it ------------------------------------------------------------

    def api(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One call of the control API: status and the JSON body (text where it is none)."""
        connection = _UnixConnection(self.socket)
        try:
            payload = None if body is None else json.dumps(body)
            headers = {} if body is None else {"content-type": "application/json"}
            connection.request(method, path, body=payload, headers=headers)
            response = connection.getresponse()
            text = response.read().decode()
        finally:
            connection.close()
        try:
            return response.status, json.loads(text) if text else None
        except ValueError:
            return response.status, text

    def cli(
        self,
        *argv: str,
        stdin: str | None = None,
        timeout: float = COMMAND_DEADLINE_S,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run `netmgr ARGV...` against this daemon, in the host's namespace."""
        command = [sys.executable, "-I", "-m", "netmgr_cli", "--socket", str(self.socket), *argv]
        return subprocess.run(
            self.host.command(*command),
            input=stdin,
            stdin=None if stdin is not None else subprocess.DEVNULL,
            text=True,
            capture_output=True,
            timeout=timeout,
            check=False,
            env=clean_environment(**(env or {})),
            cwd="/",
        )

    def delete_sandboxes(self) -> None:
        """Delete every sandbox.

        Raises:
            AssertionError: the API said otherwise.
            OSError: it did not answer.
        """
        status, answer = self.api("DELETE", "/v1/sandboxes")
        assert status in (200, 204), f"deleting every sandbox: {status} {answer}"

    def records(self, **query: object) -> list[dict[str, Any]]:
        """Decision records as the API gives them, oldest first."""
        words = "&".join(f"{key}={value}" for key, value in query.items())
        status, text = self.api("GET", f"/v1/records?{words}")
        assert status == 200, text
        if isinstance(text, dict):  # a single line is a JSON document by itself
            return [text]
        return [json.loads(line) for line in (text or "").splitlines() if line]

    def clean(self) -> None:
        """Remove the directories; the daemon must have ended."""
        shutil.rmtree(self.run_dir, ignore_errors=True)
        shutil.rmtree(self.state_dir, ignore_errors=True)

    def _answers(self) -> bool:
        if not self.socket.exists():
            return False
        try:
            status, body = self.api("GET", "/v1/status")
        except (OSError, http.client.HTTPException):
            return False
        return status == 200 and body is not None

    def _story(self, what: str) -> str:
        tail = self.log.read_text(errors="replace").splitlines()[-40:]
        return "\n".join([what, f"-- the end of {self.log}:", *tail])


def default_config(trust: Path, **more: Any) -> dict[str, Any]:
    """A daemon's config for a world: its name servers, its public ranges, its root."""
    config: dict[str, Any] = {
        "dns_servers": list(internet.DNS_SERVERS),
        "treat_as_public": list(internet.PUBLIC),
        "ca_roots": str(trust),
        "drain_s": 0.5,
    }
    return config | more


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path) -> None:
        super().__init__("netmgr", timeout=API_DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        try:
            self.sock.connect(str(self._path))
        except OSError:
            self.sock.close()
            raise


def _argv(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").split("\0")
    except OSError:
        return []
