"""Owns: the little programs that runtimes execute: a few lines that start the interpreter without
its site directories and lead into `netmgr_cli.shim`. Written whole, or not at all.
"""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import click

import netmgr_cli
from netmgr.errors import BadInput, Conflict, HostFailed

OURS: Final = "# Written by netmgr;"
MODE: Final = 0o755
MAX_LINE: Final = 255  # bytes of a first line that the kernel reads (BINPRM_BUF_SIZE)
MAX_LOOK: Final = 4096  # bytes that tell our program from another's


copy_option = click.option(
    "--copy-to",
    "home",
    metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    callback=lambda _context, _option, value: value and value.absolute(),
    help="Copy what it imports there: the host needs no netmgr then, but an interpreter.",
)


def interpreter() -> Path:
    """The interpreter itself, not a virtual environment's link to it: without site directories the
    environment means nothing, and looking for it takes time."""
    return Path(os.path.realpath(sys.executable))


def render_program(
    verb: str, module: str, python: Path, words: Sequence[str] = (), home: Path | None = None
) -> str:
    """The program for a verb of `netmgr`.

    Args:
        module: its `main` gives the exit status.
        words: arguments that come before a caller's own.
        home: where `netmgr_cli` is; None: where this one is.

    Raises:
        BadInput: the interpreter cannot stand in a first line.
    """
    first = f"#!{python} -IS"
    if not python.is_absolute() or " " in str(python) or len(first) > MAX_LINE:
        raise BadInput(f"--python {str(python)!r}: expected a short absolute path without spaces")
    home = home or Path(netmgr_cli.__file__).resolve().parents[1]
    return "\n".join(
        [
            first,
            f"{OURS} `netmgr {verb} install` writes it again.",
            "import os, sys",
            f"sys.path.append({str(home)!r})",
            *([f"sys.argv[1:1] = {list(words)!r}"] if words else []),
            f"from {module} import main",
            "os._exit(main())",  # nothing is left to tidy up: a tenth of the time
            "",
        ]
    )


def install_program(path: Path, text: str) -> bool:
    """Put a program at `path`; whether something changed.

    Raises:
        Conflict: something that is not ours stands there.
        HostFailed: it cannot be written.
    """
    try:
        if path.is_symlink() or path.exists():
            found = path.read_bytes()[:MAX_LOOK].decode(errors="replace")
            if found == text and path.stat().st_mode & 0o777 == MODE:
                return False
            if OURS not in found:
                raise Conflict(f"{path} exists, and netmgr did not write it")
        aside = path.with_name(f".{path.name}.new")
        aside.write_text(text)
        aside.chmod(MODE)
        aside.replace(path)
    except OSError as problem:
        raise HostFailed(f"{path}: {problem.strerror}") from problem
    return True


def copy_shim(home: Path) -> None:
    """Copy what the programs import to `home`, for a host that has an interpreter and no netmgr.

    Raises:
        HostFailed: it cannot be written.
    """
    source = Path(netmgr_cli.__file__).resolve().parent
    target = home / "netmgr_cli"
    try:
        shutil.copytree(
            source / "shim",
            target / "shim",
            ignore=shutil.ignore_patterns("__pycache__"),
            dirs_exist_ok=True,
        )
        shutil.copy2(source / "__init__.py", target / "__init__.py")
    except OSError as problem:
        raise HostFailed(f"{home}: {problem}") from problem


def remove_program(path: Path) -> bool:
    """Take a program of ours away; whether there was one.

    Raises:
        Conflict: what stands there is not ours.
        HostFailed: it cannot be removed.
    """
    try:
        if OURS not in path.read_bytes()[:MAX_LOOK].decode(errors="replace"):
            raise Conflict(f"{path}: netmgr did not write it")
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as problem:
        raise HostFailed(f"{path}: {problem.strerror}") from problem
    return True
