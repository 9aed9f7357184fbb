"""Owns: reading a command line of an OCI runtime (runc's; crun and others have the same), as far
as it matters here. No I/O.
"""

from netmgr_cli.shim.oci.words import Refused

# Options before the verb that take the next word as their value, where it is not behind a `=`.
GENERAL = ("log", "log-format", "root", "criu", "rootless", "cgroup-manager")
CREATE = {
    "b": "bundle",
    "bundle": "bundle",
    "f": "config",  # crun's
    "config": "config",
    "console-socket": "",
    "pid-file": "",
    "preserve-fds": "",
}
EXEC = {
    "p": "process",
    "process": "process",
    "c": "cap",
    "cap": "cap",
} | dict.fromkeys(
    (
        *("console-socket", "cwd", "env", "e", "user", "u", "additional-gids", "g", "pid-file"),
        *("process-label", "apparmor", "preserve-fds", "cgroup"),
    ),
    "",
)
VALUES = {"create": CREATE, "run": CREATE, "exec": EXEC}


class Command:
    """A command line.

    Attributes:
        general: the words before the verb.
        verb: `create`, `run`, ...; empty where there is none.
        container: the id, where the verb is one of VALUES.
        options: the verb's options that matter, by name.
        capabilities: what `exec --cap` adds.
        log, log_format: where the engine looks for the reason of a failure.
    """

    __slots__ = ("capabilities", "container", "general", "log", "log_format", "options", "verb")

    def __init__(self) -> None:
        self.general: list[str] = []
        self.verb = ""
        self.container = ""
        self.options: dict[str, str] = {}
        self.capabilities: list[str] = []
        self.log = ""
        self.log_format = "text"


def parse_command(words: list[str]) -> Command:
    """A command line, without our own words.

    Raises:
        Refused: a verb that needs a container names none.
    """
    command, rest = Command(), list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("-"):
            command.verb = word
            break
        name, value = _option(word, GENERAL, rest)
        command.general += [word] if value is None or "=" in word else [word, value]
        if name == "log":
            command.log = value or ""
        elif name == "log-format":
            command.log_format = value or "text"
    if command.verb in VALUES:
        _parse_verb(command, rest)
    return command


def _parse_verb(command: Command, rest: list[str]) -> None:
    known = VALUES[command.verb]
    while rest:
        word = rest.pop(0)
        if not word.startswith("-") or word == "-":
            command.container = word
            return
        name, value = _option(word, known, rest)
        meaning = known.get(name, "")
        if meaning == "cap":
            command.capabilities.append((value or "").upper())
        elif meaning and value is not None:
            command.options[meaning] = value
    raise Refused(f"{command.verb}: which container?")


def _option(
    word: str, valued: "tuple[str, ...] | dict[str, str]", rest: list[str]
) -> tuple[str, str | None]:
    """An option's name and value (None: it has none); the value is taken from `rest` if need be."""
    name, equals, value = word.lstrip("-").partition("=")
    if equals:
        return name, value
    if name in valued and rest:
        return name, rest.pop(0)
    return name, None
