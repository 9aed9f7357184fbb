"""Owns: one sandbox as a test uses it: programs inside, its records, its addresses."""

import subprocess
import time
from collections.abc import Callable
from typing import Any, Final

from world.daemon import Daemon
from world.environment import clean_environment
from world.namespaces import COMMAND_DEADLINE_S, Namespace

RECORD_DEADLINE_S: Final = (
    3.0  # the contract shows a denial within 200 ms; two busy cores take more
)
SHOWN: Final = 12  # records in a failure's story


class Sandbox:
    """A sandbox that `World.sandbox` made. `facts` is the API's object at its creation."""

    def __init__(self, daemon: Daemon, facts: dict[str, Any]) -> None:
        self._daemon = daemon
        self.facts = facts
        self.name: str = facts["name"]
        self.address: str = facts["address"]
        self.link: str = facts["link"]
        self.namespace = Namespace(facts["netns"].rpartition("/")[2])
        self._first_record = 0

    def __repr__(self) -> str:
        return f"Sandbox({self.name} at {self.address})"

    # -- programs inside -------------------------------------------------------------------

    def run(
        self,
        *argv: str,
        user: str | None = None,
        stdin: str | None = None,
        timeout: float = COMMAND_DEADLINE_S,
    ) -> subprocess.CompletedProcess[str]:
        """Run a program as its operator would: `netmgr sandbox exec`."""
        who = ["--user", user] if user else []
        words = ["sandbox", "exec", *who, self.name, "--", *argv]
        return self._daemon.cli(*words, stdin=stdin, timeout=timeout)

    def shell(self, script: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a line of sh inside."""
        return self.run("sh", "-c", script, **options)

    def enter(
        self, *argv: str, stdin: str = "", timeout: float = COMMAND_DEADLINE_S
    ) -> subprocess.CompletedProcess[str]:
        """Run a program in the sandbox's network namespace alone, with *every* privilege.

        This is the attacker of the attack tests: uid 0, raw sockets, the machine's files.
        """
        return self.namespace.run(*argv, timeout=timeout, input=stdin)

    def start(self, *argv: str, **options: Any) -> "subprocess.Popen[str]":
        """Like `enter`, without waiting; the caller ends it."""
        options.setdefault("env", clean_environment())
        return subprocess.Popen(self.namespace.command(*argv), text=True, **options)

    # -- what is known of it ---------------------------------------------------------------

    def records(self, **query: object) -> list[dict[str, Any]]:
        """Its decision records since its creation, or since `forget_records`."""
        query.setdefault("after", self._first_record)
        return self._daemon.records(sandbox=self.name, **query)

    def forget_records(self) -> None:
        """Begin the records anew."""
        found = self._daemon.records(sandbox=self.name)
        self._first_record = found[-1]["seq"] if found else self._first_record

    def wait_record(
        self, fits: Callable[[dict[str, Any]], bool], deadline_s: float = RECORD_DEADLINE_S
    ) -> dict[str, Any]:
        """The first record that fits.

        Raises:
            AssertionError: none came in time; with what did come.
        """
        deadline = time.monotonic() + deadline_s
        while True:
            records = self.records()
            for record in records:
                if fits(record):
                    return record
            if time.monotonic() > deadline:
                listing = "\n  ".join(map(_short, records[-SHOWN:])) or "(none)"
                raise AssertionError(f"no such record in {len(records)}; the last:\n  {listing}")
            time.sleep(0.05)

    def policy(self, text: str) -> dict[str, Any]:
        """Put a policy in force through the API; its answer."""
        body = {"text": text, "source": "test.yaml"}
        status, answer = self._daemon.api("PUT", f"/v1/sandboxes/{self.name}/policy", body)
        assert status == 200, answer
        return dict(answer)

    def delete(self) -> None:
        """Delete it; twice is once."""
        status, answer = self._daemon.api("DELETE", f"/v1/sandboxes/{self.name}")
        assert status in (200, 204, 404), answer


def _short(record: dict[str, Any]) -> str:
    """A record without what is empty in it."""
    facts = {key: value for key, value in record.items() if value not in (None, "", 0)}
    return str(facts)
