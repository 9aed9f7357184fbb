"""Owns: `netmgr-runc`, an OCI runtime for engines. It gives a container that is made its sandbox,
then is the real runtime (exec), with the very words that it was called with.

The script that engines call (netmgr_cli/oci_program.py) leads here only what makes a process; the
rest goes straight to the real runtime.
"""

import json
import os
import sys
from fcntl import ioctl
from time import gmtime, strftime

from netmgr_cli.shim.names import sandbox_name
from netmgr_cli.shim.oci import judge
from netmgr_cli.shim.oci.command import Command, parse_command
from netmgr_cli.shim.oci.container import read_config, wrap
from netmgr_cli.shim.oci.lodge import Lodger, leave
from netmgr_cli.shim.oci.words import RUNTIMES, Refused, Words, take_words
from netmgr_cli.shim.wire import Failure, ask

NS_GET_USERNS = 0xB701  # ioctl_ns(2): the user namespace that owns a namespace


def main(arguments: list[str]) -> int:
    """Prepare what has to be prepared, and become the real runtime.

    Returns:
        1 where the container is not to be; the reason is on stderr and in the engine's log file.
    """
    command = None
    try:
        words, rest = take_words(arguments)
        command = parse_command(rest)
        runtime = find_runtime(words)
        prepare(command, words)
        try:
            os.execv(runtime, [runtime, *rest])  # noqa: S606 - the operator named it
        except OSError as problem:
            if command.verb in ("create", "run"):
                leave(Lodger(command.container, bundle_of(command)), words)
            raise Refused(f"{runtime}: {problem.strerror}") from problem
    except (Refused, Failure) as problem:
        return complain(command, str(problem))
    except OSError as problem:
        return complain(command, f"{problem.filename or ''}: {problem.strerror}")


def prepare(command: Command, words: Words) -> None:
    """Do what the verb needs before the real runtime has it.

    Raises:
        Refused, Failure, OSError: it must not have it.
    """
    if command.verb in ("create", "run"):
        wrap(command.container, bundle_of(command), words, command.options.get("config"))
    elif command.verb == "restore":
        raise Refused("a restored container would come back without its door: start it anew")
    elif command.verb == "exec":
        judge_exec(command, words)


def bundle_of(command: Command) -> str:
    """The container's directory; the current one where the command line names none."""
    return os.path.abspath(command.options.get("bundle", "."))


def judge_exec(command: Command, words: Words) -> None:
    """Refuse a further process with capabilities that its container was refused.

    Raises:
        Refused: names the capability.
    """
    process = {}
    if "process" in command.options:
        process = read_config(command.options["process"])
    more = [cap if cap.startswith("CAP_") else f"CAP_{cap}" for cap in command.capabilities]
    try:
        judge.refuse_powers(process)
        judge.refuse_powers({"capabilities": {"bounding": more}})
    except Refused:
        if not has_own_users(command.container, words):
            raise


def has_own_users(container: str, words: Words) -> bool:
    """Whether a container's network namespace belongs to a user namespace of its own.

    Raises:
        Failure: nobody answers.
    """
    try:
        sandbox = ask(words.socket, "GET", f"/v1/sandboxes/{sandbox_name(container)}")
    except Failure as failure:
        if failure.code != "not_found":
            raise
        return False
    handle = os.open(str(sandbox["netns"]), os.O_RDONLY | os.O_CLOEXEC)
    try:
        users = ioctl(handle, NS_GET_USERNS)
        owner, own = os.fstat(users), os.stat("/proc/self/ns/user")
        os.close(users)
    finally:
        os.close(handle)
    return (owner.st_dev, owner.st_ino) != (own.st_dev, own.st_ino)


def find_runtime(words: Words) -> str:
    """The real runtime.

    Raises:
        Refused: none is there, or it is this one.
    """
    found = words.runtime or next((path for path in RUNTIMES if os.access(path, os.X_OK)), None)
    if found is None:
        raise Refused(f"no OCI runtime: none of {', '.join(RUNTIMES)}; name it: --netmgr-runtime=")
    if not found.startswith("/"):
        raise Refused(f"--netmgr-runtime={found}: expected an absolute path")
    return found


def complain(command: Command | None, message: str) -> int:
    """The reason on stderr, and where the engine looks for it (`--log`); the exit status."""
    sys.stderr.write(f"netmgr-runc: {message}\n")
    if command is not None and command.log:
        with open(command.log, "a", encoding="utf-8") as log:
            log.write(log_line(command.log_format, f"netmgr-runc: {message}"))
    return 1


def log_line(form: str, message: str) -> str:
    """A line as runc writes it: engines show the last error of its log to whoever asked."""
    time = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    if form == "json":
        return json.dumps({"level": "error", "msg": message, "time": time}) + "\n"
    return f"time={json.dumps(time)} level=error msg={json.dumps(message)}\n"
