"""Owns: `netmgr-hook`: what an OCI runtime runs at createRuntime (or prestart) and poststop, with
the container's state on stdin; and podman at precreate, with its configuration there. What it does
follows from what it reads, so it may stand at each stage.
"""

import sys

from netmgr_cli.shim import light
from netmgr_cli.shim.oci.container import MAX_CONFIG, attach_starting, foresee, parse_object
from netmgr_cli.shim.oci.lodge import Lodger, leave
from netmgr_cli.shim.oci.words import Refused, Words, take_words
from netmgr_cli.shim.wire import Failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def main(arguments: list[str] | None = None) -> int:
    """Run the hook; 0, or 1 with a line on stderr, for which a runtime gives the container up."""
    try:
        words, rest = take_words(sys.argv[1:] if arguments is None else arguments)
        if rest:
            raise Refused(f"{rest[0]}: the hook takes --netmgr-KEY=VALUE and nothing else")
        state = parse_object(sys.stdin.buffer.read(MAX_CONFIG + 1), "the state on stdin")
        if "ociVersion" in state and "status" not in state:
            return _answer_precreate(state, words)
        missing = [key for key in ("id", "status", "bundle") if not state.get(key)]
        if missing:
            raise Refused(f"the state on stdin has no {missing[0]}: this is for an OCI runtime")
        if state["status"] == "stopped":
            leave(Lodger(str(state["id"]), str(state["bundle"])), words)
        elif state["status"] in ("creating", "created"):
            attach_starting(state, words)
    except (Refused, Failure) as problem:
        return complain(str(problem))
    except OSError as problem:
        return complain(f"{problem.filename or ''}: {problem.strerror}")
    return 0


def _answer_precreate(config: "dict[str, Any]", words: Words) -> int:
    """The configuration as it shall be. A refusal is createRuntime's to tell, which comes next:
    what a hook says at this stage podman shows nobody."""
    try:
        answer = foresee(config, words)
    except (Refused, Failure):
        answer = config
    sys.stdout.write(light.dumps(answer))
    sys.stdout.flush()
    return 0


def complain(message: str) -> int:
    """One line on stderr; the exit status."""
    sys.stderr.write(f"netmgr: {message}\n")
    return 1
