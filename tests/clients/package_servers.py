"""Owns: the servers of programs that fetch and push: git, a Python index, an npm registry.

Each is a behaviour of the world's web servers. Git's answers are those of `git http-backend`; the
other two serve one package, made here. Knows nothing of netmgr.
"""

import asyncio
import base64
import hashlib
import io
import json
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Final

from world.streams import Stream
from world.web import Behaviour, Request, response

BACKEND_S: Final = 20.0  # for git's own work on a tiny repository
PACKAGE: Final = "netmgr-demo"
MODULE: Final = "netmgr_demo"
WORD: Final = "from the index of the world"


def git_server(root: Path) -> Behaviour:
    """Every bare repository below `root`, for reading and pushing."""

    async def behave(request: Request, stream: Stream) -> None:
        await stream.write(await asyncio.to_thread(_ask_git, root, request))

    return behave


def _ask_git(root: Path, request: Request) -> bytes:
    """The response of CGI (RFC 3875) as one of HTTP."""
    path, _, query = request.target.partition("?")
    words = {
        "PATH": os.environ["PATH"],
        "GIT_PROJECT_ROOT": str(root),
        "GIT_HTTP_EXPORT_ALL": "1",
        "GIT_PROTOCOL": request.header("git-protocol") or "",
        "PATH_INFO": path,
        "QUERY_STRING": query,
        "REQUEST_METHOD": request.method,
        "REMOTE_USER": "somebody",  # who is known may push
        "CONTENT_TYPE": request.header("content-type") or "",
        "HTTP_CONTENT_ENCODING": request.header("content-encoding") or "",
        "CONTENT_LENGTH": str(len(request.body)),
    }
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", "http-backend"],
        input=request.body,
        env=words,
        capture_output=True,
        timeout=BACKEND_S,
        check=True,
    )
    head, _, body = done.stdout.partition(b"\r\n\r\n")
    fields = dict(line.split(": ", 1) for line in head.decode().split("\r\n"))
    status = int(fields.get("Status", "200").split()[0])
    return response(status, body, fields.get("Content-Type", "text/plain"))


def files_server(files: dict[str, tuple[str, bytes]]) -> Behaviour:
    """Content types and contents by path; 404 for any other."""

    async def behave(request: Request, stream: Stream) -> None:
        found = files.get(request.target.partition("?")[0])
        kind, body = found or ("text/plain", b"no such file")
        await stream.write(response(200 if found else 404, body, kind))

    return behave


def python_index() -> dict[str, tuple[str, bytes]]:
    """A simple index (PEP 503) with one wheel."""
    wheel = _wheel()
    name = f"{MODULE}-1.0-py3-none-any.whl"
    link = f'<a href="/files/{name}#sha256={hashlib.sha256(wheel).hexdigest()}">{name}</a>'
    return {
        f"/simple/{PACKAGE}/": ("text/html", f"<!DOCTYPE html>{link}".encode()),
        f"/files/{name}": ("application/octet-stream", wheel),
    }


def _wheel() -> bytes:
    info = f"{MODULE}-1.0.dist-info"
    files = {
        f"{MODULE}.py": f"WORD = {WORD!r}\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    files[f"{info}/RECORD"] = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return buffer.getvalue()


def npm_registry(host: str) -> dict[str, tuple[str, bytes]]:
    """A registry with one package of one version."""
    about = {"name": PACKAGE, "version": "1.0.0", "main": "index.js"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        files = {"package.json": json.dumps(about), "index.js": f"module.exports = {WORD!r}\n"}
        for path, text in files.items():
            entry = tarfile.TarInfo(f"package/{path}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    tarball = buffer.getvalue()
    path = f"/{PACKAGE}/-/{PACKAGE}-1.0.0.tgz"
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    dist = {"tarball": f"https://{host}{path}", "integrity": integrity}
    document = {
        "name": PACKAGE,
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": about | {"dist": dist}},
    }
    return {
        f"/{PACKAGE}": ("application/json", json.dumps(document).encode()),
        path: ("application/octet-stream", tarball),
    }
