"""Owns: `netmgr-runc`, an OCI runtime for engines. It gives a container that is made its sandbox,
then is the real runtime (exec), with the very words that it was called with.

The script that engines call (netmgr_cli/oci_program.py) leads here only what makes a process; the
rest goes straight to the real runtime.
"""

import os
from fcntl import ioctl
from select import select
from time import gmtime, monotonic, strftime

from netmgr_cli.shim import light
from netmgr_cli.shim.oci import judge
from netmgr_cli.shim.oci.command import Command, parse_command
from netmgr_cli.shim.oci.container import parse_object, read_config, wrap, write_config
from netmgr_cli.shim.oci.dress import ENV_FILE, OWN_DIRECTORY
from netmgr_cli.shim.oci.edit import with_env
from netmgr_cli.shim.oci.lodge import Lodger, find, identity, leave
from netmgr_cli.shim.oci.words import CONTAINER_LABEL, RUNTIMES, Refused, Words, take_words
from netmgr_cli.shim.wire import Failure

STATE_S = 10  # seconds for the real runtime to say where a container is; it reads one file
MAX_STATE = 1024 * 1024  # bytes of its answer
STDERR = 2
SIGKILL = 9  # signal(7); the module `signal` takes a third of a start
NS_GET_USERNS = 0xB701  # ioctl_ns(2): the user namespace that owns a namespace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


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
        prepare(command, words, runtime)
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


def prepare(command: Command, words: Words, runtime: str) -> None:
    """Do what the verb needs before the real runtime has it.

    Raises:
        Refused, Failure, OSError: it must not have it.
    """
    if command.verb in ("create", "run"):
        wrap(command.container, bundle_of(command), words, command.options.get("config"))
    elif command.verb == "restore":
        raise Refused("a restored container would come back without its door: start it anew")
    elif command.verb == "exec":
        prepare_exec(command, words, runtime)


def bundle_of(command: Command) -> str:
    """The container's directory; the current one where the command line names none."""
    return os.path.abspath(command.options.get("bundle", "."))


def prepare_exec(command: Command, words: Words, runtime: str) -> None:
    """Refuse a further process with capabilities that its container was refused, and give it the
    container's trust: engines build its environment from what they know, which is not ours.

    Raises:
        Refused: names the capability.
    """
    path = command.options.get("process")
    process = read_config(path) if path else {}
    more = [cap if cap.startswith("CAP_") else f"CAP_{cap}" for cap in command.capabilities]
    sandbox = sandbox_of(command.container, words)
    try:
        judge.refuse_powers(process)
        judge.refuse_powers({"capabilities": {"bounding": more}})
    except Refused:
        if sandbox is None or not has_own_users(str(sandbox["netns"])):
            raise
    if path:
        env = sandbox["env"] if sandbox else env_of_bundle(command, runtime)
        write_config(path, with_env(process, env))


def sandbox_of(container: str, words: Words) -> "dict[str, Any] | None":
    """The container's own sandbox; None where there is none, or nobody answers: a daemon that is
    away must not keep anybody from looking into a container."""
    try:
        sandbox = find(container, words)
    except Failure:
        return None
    if sandbox is None or sandbox["labels"].get(CONTAINER_LABEL) != container:
        return None
    return sandbox


def has_own_users(netns: str) -> bool:
    """Whether a network namespace belongs to another user namespace than ours.

    Raises:
        OSError: it is gone.
    """
    handle = os.open(netns, os.O_RDONLY | os.O_CLOEXEC)
    try:
        users = ioctl(handle, NS_GET_USERNS)
        owner = identity(f"/proc/self/fd/{users}")
        os.close(users)
    finally:
        os.close(handle)
    return owner != identity("/proc/self/ns/user")


def env_of_bundle(command: Command, runtime: str) -> dict[str, str]:
    """The variables that a container got which joined another's sandbox."""
    state = state_of(command, runtime)
    try:
        env: dict[str, str] = read_config(f"{state['bundle']}/{OWN_DIRECTORY}/{ENV_FILE}")
    except (OSError, KeyError):
        return {}  # it was created without us
    return env


def state_of(command: Command, runtime: str) -> "dict[str, Any]":
    """What the real runtime says of the container."""
    reader, writer = os.pipe()
    words = [runtime, *command.general, "state", command.container]
    actions = [(os.POSIX_SPAWN_DUP2, writer, 1)]
    child = os.posix_spawn(runtime, words, os.environ, file_actions=actions)
    os.close(writer)
    try:
        raw = b""
        end = monotonic() + STATE_S
        while select([reader], [], [], max(0.0, end - monotonic()))[0]:
            piece = os.read(reader, MAX_STATE)
            raw += piece
            if not piece or len(raw) > MAX_STATE:
                break
        else:
            os.kill(child, SIGKILL)
        return parse_object(raw, "the runtime's answer")
    finally:
        os.close(reader)
        os.waitpid(child, 0)


def find_runtime(words: Words) -> str:
    """The real runtime.

    Raises:
        Refused: none is there.
    """
    found = words.runtime or next((path for path in RUNTIMES if os.access(path, os.X_OK)), None)
    if found is None:
        raise Refused(f"no OCI runtime: none of {', '.join(RUNTIMES)}; name it: --netmgr-runtime=")
    if not found.startswith("/"):
        raise Refused(f"--netmgr-runtime={found}: expected an absolute path")
    return found


def complain(command: Command | None, message: str) -> int:
    """The reason on stderr, and where the engine looks for it (`--log`); the exit status."""
    for tell in (_tell_log, _tell_stderr):
        try:
            tell(command, f"netmgr-runc: {message}")
        except OSError:
            continue  # an engine that reads one of them may have closed the other
    return 1


def _tell_log(command: Command | None, line: str) -> None:
    if command is not None and command.log:
        with open(command.log, "a", encoding="utf-8") as log:
            log.write(log_line(command.log_format, line))


def _tell_stderr(_: Command | None, line: str) -> None:
    os.write(STDERR, f"{line}\n".encode(errors="replace"))


def log_line(form: str, message: str) -> str:
    """A line as runc writes it: engines show the last error of its log to whoever asked."""
    time = strftime("%Y-%m-%dT%H:%M:%SZ", gmtime())
    if form == "json":
        return light.dumps({"level": "error", "msg": message, "time": time}) + "\n"
    return f"time={light.dumps(time)} level=error msg={light.dumps(message)}\n"
