"""git, psql, pip and npm, unmodified, inside a sandbox, with real servers outside."""

import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from clients.inside import npm
from clients.package_servers import (
    MODULE,
    PACKAGE,
    WORD,
    files_server,
    git_server,
    npm_registry,
    python_index,
)
from clients.service_processes import USER, database, own, ssh_server
from world import Sandbox, World
from world.internet import Site

pytestmark = pytest.mark.root

GIT = "git.native.test"
SSH = "ssh.native.test"
DB = "db.native.test"
INDEX = "index.native.test"
NPM = "npm.native.test"
PROGRAM_S = 60.0  # npm's own start takes seconds on two busy cores
POLICY = """
version: 1
network_policies:
  native:
    endpoints:
      - {{host: {host}, port: {port}{more}}}
    binaries: [{{path: /**}}]
"""
# As one gives read access to a repository: what a clone asks for, and nothing of a push.
ONLY_CLONE = """, protocol: rest, rules: [
        {allow: {method: GET, path: /demo.git/info/refs, query: {service: git-upload-pack}}},
        {allow: {method: POST, path: /demo.git/git-upload-pack}}]"""
_numbers = itertools.count(1)


def policy(host: str, port: int, more: str = "") -> str:
    """One endpoint for every program."""
    return POLICY.format(host=host, port=port, more=more)


@pytest.fixture(scope="module")
def scratch(world: World) -> Iterator[Path]:
    """A directory that the services' user reaches; pytest's own are root's alone."""
    path = world.directory / "native"
    path.mkdir()
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def repositories(scratch: Path) -> Path:
    """A directory with a bare repository, demo.git, of one commit."""
    root, work = scratch / "repositories", scratch / "work"
    git("init", "-q", "--bare", "-b", "main", str(root / "demo.git"))
    git("init", "-q", "-b", "main", str(work))
    commit(work, "first")
    git("-C", str(work), "push", "-q", str(root / "demo.git"), "main")
    own(root)
    return root


@pytest.fixture(scope="module")
def git_site(world: World, repositories: Path) -> Site:
    """The repository over HTTPS."""
    return world.internet.https(GIT, git_server(repositories))


def git(*argv: str) -> str:
    """The test's own git, outside."""
    done = subprocess.run(
        ["git", "-c", "safe.directory=*", *argv],
        capture_output=True, text=True, timeout=PROGRAM_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def commit(work: Path, word: str) -> None:
    """One more commit with a file of that name."""
    (work / word).write_text(word)
    who = ["-c", "user.name=a", "-c", "user.email=a@native.test"]
    git("-C", str(work), "add", word)
    git("-C", str(work), *who, "commit", "-q", "-m", word)


def run(box: Sandbox, home: Path, *argv: str, **more: str) -> "subprocess.CompletedProcess[str]":
    """A program inside, as root (it writes below `home`), without the machine's settings."""
    variables = {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    words = [f"{key}={value}" for key, value in (variables | more).items()]
    return box.run("env", *words, *argv, user="root", timeout=PROGRAM_S)


def subjects(repositories: Path) -> list[str]:
    """The subjects of demo.git's commits, newest first."""
    return git("-C", str(repositories / "demo.git"), "log", "--format=%s", "main").split()


def clone_and_push(box: Sandbox, home: Path, url: str, **more: str) -> tuple[int, str]:
    """Clone, commit, push: the push's status and what it said."""
    work = home / f"clone{next(_numbers)}"
    done = run(box, home, "git", "clone", "-q", url, str(work), **more)
    assert done.returncode == 0, done.stderr
    assert (work / "first").read_text() == "first"
    commit(work, work.name)
    done = run(box, home, "git", "-C", str(work), "push", "-q", "origin", "main", **more)
    return done.returncode, done.stderr


@pytest.mark.parametrize("more", ["", ", protocol: rest, access: full"], ids=["relayed", "judged"])
def test_git_over_https(
    make_sandbox: Callable[..., Sandbox],
    git_site: Site,
    repositories: Path,
    tmp_path: Path,
    more: str,
) -> None:
    box = make_sandbox(policy(GIT, 443, more))
    before = subjects(repositories)
    assert clone_and_push(box, tmp_path, f"https://{GIT}/demo.git") == (0, "")
    assert subjects(repositories)[1:] == before


def test_git_may_clone_and_not_push(
    make_sandbox: Callable[..., Sandbox], git_site: Site, repositories: Path, tmp_path: Path
) -> None:
    box = make_sandbox(policy(GIT, 443, ONLY_CLONE))
    before = subjects(repositories)
    status, said = clone_and_push(box, tmp_path, f"https://{GIT}/demo.git")
    assert status == 128
    assert "403" in said
    assert subjects(repositories) == before
    record = box.wait_record(lambda r: r["kind"] == "http" and r["verdict"] == "denied")
    assert record["reason"] == "query_not_allowed"
    assert record["http"]["path"] == "/demo.git/info/refs"


def test_git_over_ssh(
    world: World,
    make_sandbox: Callable[..., Sandbox],
    repositories: Path,
    scratch: Path,
    tmp_path: Path,
) -> None:
    directory = scratch / "ssh"
    directory.mkdir()
    before = subjects(repositories)
    with ssh_server(world, SSH, directory) as made:
        key = Path(shutil.copy(made, tmp_path))
        key.chmod(0o600)
        known = tmp_path / "known_hosts"
        known.write_text(f"{SSH} {(directory / 'host_key.pub').read_text()}")
        ssh = f"ssh -F none -i {key} -o UserKnownHostsFile={known} -o BatchMode=yes"
        url = f"ssh://{USER}@{SSH}{repositories}/demo.git"
        box = make_sandbox(policy(SSH, 22, ", protocol: tcp"))
        assert clone_and_push(box, tmp_path, url, GIT_SSH_COMMAND=ssh) == (0, "")
        assert subjects(repositories)[1:] == before
        allowed = box.wait_record(lambda r: r["kind"] == "connection" and r["bytes_out"])
        assert allowed["destination"]["name"] == SSH
        closed = make_sandbox(policy(SSH, 2222, ", protocol: tcp"))
        done = run(closed, tmp_path, "git", "ls-remote", url, GIT_SSH_COMMAND=ssh)
        assert done.returncode == 128
        assert "refused" in done.stderr
        closed.wait_record(lambda r: r["reason"] == "port_not_allowed")


def test_psql(
    world: World, make_sandbox: Callable[..., Sandbox], scratch: Path, tmp_path: Path
) -> None:
    directory = scratch / "db"
    directory.mkdir()
    with database(world, DB, directory):
        for more, verdict in (
            ("", "allowed"),
            (", protocol: tcp", "allowed"),
            (", protocol: sql", "audited"),
        ):
            box = make_sandbox(policy(DB, 5432, more))
            done = query(box, tmp_path, "select 6 * 7 from pg_stat_ssl where ssl limit 1")
            assert done.stdout == "42\n", done.stderr
            box.wait_record(lambda r, v=verdict: r["kind"] == "connection" and r["verdict"] == v)
        box.policy(policy(DB, 5433))
        done = query(box, tmp_path, "select 1")
        assert done.returncode == 2
        assert "Connection refused" in done.stderr
        box.wait_record(lambda r: r["reason"] == "port_not_allowed")


def query(box: Sandbox, home: Path, text: str) -> "subprocess.CompletedProcess[str]":
    """psql, which trusts what every program in the sandbox trusts."""
    roots = box.facts["env"]["SSL_CERT_FILE"]
    where = f"host={DB} user={USER} dbname=postgres sslmode=verify-full sslrootcert={roots}"
    return run(box, home, "psql", "-X", "-A", "-t", "-c", text, where)


def test_pip(world: World, make_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    site = world.internet.https(INDEX, files_server(python_index()))
    box = make_sandbox(policy(INDEX, 443, ", protocol: rest, access: read-only"))
    pip = [sys.executable, "-m", "pip", "--no-cache-dir", "--disable-pip-version-check"]
    pip += ["install", "-q", "--retries", "0", "--index-url", f"https://{INDEX}/simple"]
    into = ["--target", str(tmp_path / "packages"), PACKAGE]
    done = run(box, tmp_path, *pip, *into, PIP_CONFIG_FILE="/dev/null")
    assert done.returncode == 0, done.stderr
    assert WORD in (tmp_path / "packages" / f"{MODULE}.py").read_text()
    assert [r.method for r in site.requests] == ["GET", "GET"]


def test_npm(world: World, make_sandbox: Callable[..., Sandbox], tmp_path: Path) -> None:
    site = world.internet.https(NPM, files_server(npm_registry(NPM)))
    box = make_sandbox(policy(NPM, 443, ", protocol: rest, access: read-only"))
    settings = {f"npm_config_{each}config": str(tmp_path / each) for each in ("user", "global")}
    settings["npm_config_cache"] = str(tmp_path / "cache")
    words = [*npm(), "install", "--no-audit", "--no-fund", "--fetch-retries=0"]
    words += ["--registry", f"https://{NPM}/", "--prefix", str(tmp_path / "app")]
    done = run(box, tmp_path, *words, PACKAGE, **settings)
    assert done.returncode == 0, done.stderr
    assert WORD in (tmp_path / "app" / "node_modules" / PACKAGE / "index.js").read_text()
    assert {r.method for r in site.requests} == {"GET"}
