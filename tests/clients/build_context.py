"""Owns: the sources of an image that holds curl, what it is linked with, and an empty list of
authorities.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Final

BUNDLE: Final = "/etc/ssl/certs/ca-certificates.crt"


def make_context(path: Path, dockerfile: str) -> None:
    """The context of a build: `root` to add, and its Dockerfile."""
    root = path / "root"
    (root / "bin").mkdir(parents=True)
    (path / "Dockerfile").write_text(dockerfile)
    curl = shutil.which("curl", path="/usr/bin:/bin")
    assert curl is not None
    linked = subprocess.run(["ldd", curl], capture_output=True, text=True, check=True).stdout
    libraries = [word for word in linked.split() if word.startswith("/")]
    for source, target in [(curl, "/bin/curl"), *((name, name) for name in libraries)]:
        place = root / target.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(source, place)
    for name in (BUNDLE, "/etc/passwd", "/tmp/.kept"):
        place = root / name.lstrip("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
