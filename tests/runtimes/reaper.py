"""Owns: running a command with somebody who buries what it leaves.

podman waits for conmon to be gone, which has another parent by then; where process 1 is slow to
bury the dead (as on some test machines), every `podman run` takes 20 s. The command's orphans come
here instead; what goes on living when the command ends is process 1's again.

    python -I reaper.py COMMAND...
"""

import ctypes
import os
import subprocess
import sys

PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h


def main(command: list[str]) -> int:
    """The command's own status."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    child = subprocess.Popen(command)
    while True:
        pid, status = os.wait()
        if pid == child.pid:
            return os.waitstatus_to_exitcode(status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
