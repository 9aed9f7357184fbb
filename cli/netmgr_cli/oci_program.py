"""Owns: the text of `netmgr-runc`, the program that engines are told is their OCI runtime. No I/O.

The runtime's verbs that make no process (state, start, kill, delete) never meet Python: a shell's
start is all that they pay.
"""

import shlex
from collections.abc import Sequence
from typing import Final

from netmgr_cli.programs import OURS

_RUNC: Final = """\
#!/bin/sh
{ours} `netmgr oci install` writes it again.
# An OCI runtime that gives each container its sandbox; for everything else it is the real one.
case " $* " in
  *" create "* | *" run "* | *" exec "* | *" restore "*)
    exec {python} {words} "$@"
    ;;
esac
runtime={runtime}
for word do
  shift
  case $word in
    --netmgr-runtime=*) runtime=${{word#*=}} ;;
    --netmgr-*) ;;
    *) set -- "$@" "$word" ;;
  esac
done
exec "$runtime" "$@"
"""


def render_runc(python: Sequence[str], words: Sequence[str], runtime: str) -> str:
    """The program's text.

    Args:
        python: the command line that runs the wrapper.
        words: `--netmgr-KEY=VALUE` of the installation; a caller's own come after them.
        runtime: path of the real runtime, or its name where the engine's PATH finds it.
    """
    return _RUNC.format(
        ours=OURS,
        python=shlex.join(python),
        words=shlex.join(words),
        runtime=shlex.quote(runtime),
    )
