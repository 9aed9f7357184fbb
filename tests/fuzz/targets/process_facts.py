"""What a process says of itself in /proc (its command, its arguments): whatever bytes stand there,
it is described or it is not, and an argument never names a file that is not there."""

import os
import shutil
import tempfile
from pathlib import Path

from netmgr.kernel.facts import NetnsId, Wants
from netmgr.kernel.images import MAX_ANCESTORS, MAX_ARGUMENTS, Images

WORDS = (
    b"\0",
    b"/",
    b"..",
    b"../../",
    b"/run.py",
    b"run.py",
    b"link.py",
    b"-",
    b"1 (a) S 2 ",
    b")",
)
PID, PARENT, SPLIT = 41, 40, b"\xff"


def fuzz(data: bytes) -> None:
    """The bytes before the first 0xff are the arguments, the others the line of `stat`."""
    arguments, _, line = data.partition(SPLIT)
    place = Path(tempfile.mkdtemp())
    try:
        netns = _make(place, arguments, line)
        found = Images(str(place / "proc")).describe(PID, netns, Wants(scripts=True))
        assert found is not None
        assert {each.pid for each in found.ancestors} <= {PID, PARENT}  # the bytes may say itself
        assert len(found.ancestors) <= MAX_ANCESTORS
        if found.script is not None:
            assert len(arguments) > 1
            assert os.path.isfile(found.script)
            assert found.script.startswith(f"{place}/root/")
    finally:
        shutil.rmtree(place)


def _make(place: Path, arguments: bytes, line: bytes) -> NetnsId:
    """A root with a script in it, and two processes of a namespace."""
    root = place / "root"
    root.mkdir()
    (root / "run.py").write_text("pass")
    (root / "link.py").symlink_to("run.py")
    (place / "outside.py").write_text("pass")
    (place / "netns").touch()
    for pid, stat in ((PID, line), (PARENT, b"")):
        own = place / "proc" / str(pid)
        (own / "ns").mkdir(parents=True)
        (own / "ns" / "net").symlink_to(place / "netns")
        (own / "exe").symlink_to("/run.py")
        (own / "root").symlink_to(root)
        (own / "cwd").symlink_to("/")
        (own / "comm").write_text("python3\n")
        (own / "cmdline").write_bytes(arguments[: 2 * MAX_ARGUMENTS])
        (own / "stat").write_bytes(stat)
    found = os.stat(place / "netns")
    return NetnsId(found.st_dev, found.st_ino)
