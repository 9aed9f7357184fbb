#!/usr/bin/env python3
"""A container runtime in a page: namespaces by unshare(1), the network by netmgr.

    sudo boxed.py NAME [--allow HOST[:PORT]]... -- CMD...

What it shows is all that a runtime has to do for netmgr: start the container's first process in
namespaces of its own and let it wait; ask for a sandbox around it; mount what the answer says, set
the environment that it says; give every privilege up; delete the sandbox at the end. A runtime that
was killed makes up for it at its next start, by garbage collection.
"""

import argparse
import os
import shlex
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import netmgr
from netmgr.answers import Sandbox

RUNTIME = "boxed"  # in a label: what this runtime made is its own to collect
GO, READY = 3, 4  # descriptors of the waiting process: what to do then; that it waits
NOBODY = "65534"
# It holds every capability until it has mounted; the program that it becomes has none.
POWERLESS = (
    f"setpriv --reuid={NOBODY} --regid={NOBODY} --clear-groups --bounding-set=-all "
    "--inh-caps=-all --no-new-privs"
)


def main() -> int:
    parser = argparse.ArgumentParser(usage="boxed.py NAME [--allow HOST]... -- CMD...")
    parser.add_argument("name")
    parser.add_argument("--allow", action="append", default=[])
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    try:
        with netmgr.Client() as client:
            collect(client)
            return run(client, asked.name, asked.allow, asked.command)
    except netmgr.NetmgrError as error:
        print(f"boxed: {error.message}", file=sys.stderr)
        return error.exit_status


def collect(client: netmgr.Client) -> None:
    """Remove sandboxes of earlier containers whose first process has ended."""
    mine = [box["labels"] for box in client.sandbox_list([f"runtime={RUNTIME}"])["sandboxes"]]
    living = [labels["pid"] for labels in mine if Path("/proc", labels["pid"]).exists()]
    client.sandbox_gc(living, by="pid", labels={"runtime": RUNTIME})


def run(client: netmgr.Client, name: str, allow: Iterable[str], command: list[str]) -> int:
    """Run a command in a sandbox of its own; its exit status."""
    go, tell = os.pipe()
    waits, ready = os.pipe()
    script = f"echo >&{READY}; . /proc/self/fd/{GO}"  # says that it waits, and does what it is told
    words = ["unshare", "--net", "--mount", "--ipc", "--uts", "sh", "-c", script]
    child = subprocess.Popen(
        ["sh", "-c", f'exec "$@" {GO}<&{go} {READY}>&{ready}', "sh", *words],
        pass_fds=(go, ready),
    )
    os.close(go)
    os.close(ready)
    try:
        os.read(waits, 1)
        box = client.sandbox_create(
            name,
            allow=list(allow),
            attach={"pid": child.pid, "starting": True},
            labels={"runtime": RUNTIME, "pid": str(child.pid)},
            idempotency_key=f"{RUNTIME}-{child.pid}-{name}",
        )
        try:
            with os.fdopen(tell, "w") as steps:
                steps.write(start(box, command))
            return child.wait()
        finally:
            child.kill()
            child.wait()
            client.sandbox_delete(name)
    finally:
        child.kill()
        child.wait()
        os.close(waits)


def start(box: Sandbox, command: list[str]) -> str:
    """What the waiting process does: mount, set the environment, become the command."""
    own, run_dir = [], shlex.quote(box["run_dir"])
    lines = ["set -e", "umask 022", "kept=$(mktemp -d)", "mount -t tmpfs kept $kept"]
    for mount in box["mounts"]:
        source, target = shlex.quote(mount["source"]), shlex.quote(mount["target"])
        bind = f"mount --bind {source} $(realpath {target})"
        if source == target:
            own.append(source)
        else:
            lines.append(f"[ ! -e {target} ] || {bind}" if mount["optional"] else bind)
    # This "container" has the host's files: certificates come to their own paths in a file system
    # of the container's. In one with a root of its own they are mounted like everything else.
    lines += [f"cp -rL {' '.join(own)} $kept", f"mount -t tmpfs own {run_dir}"]
    lines += [f"cp -r $kept/. {run_dir}", f"chmod 755 {run_dir}", "umount $kept", "rmdir $kept"]
    lines += [f"export {key}={shlex.quote(value)}" for key, value in box["env"].items()]
    lines.append(f"exec {POWERLESS} {shlex.join(command)} {GO}<&- {READY}>&-")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
