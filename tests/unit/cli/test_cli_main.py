"""The command as a whole: help, statuses, where words go, how fast it starts."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest

from netmgr.errors import BY_CODE, NetmgrError
from netmgr_cli.main import cli, main

ROOM = os.pathsep.join(p for p in sys.path if p)


def every_command(
    command: click.Command = cli, words: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    yield words
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from every_command(found, (*words, name))


def python(*words: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words],
        capture_output=True, text=True, timeout=60, env={**os.environ, "PYTHONPATH": ROOM},
        check=False, **more,
    )  # fmt: skip


@pytest.mark.parametrize("words", list(every_command()), ids=" ".join)
def test_every_command_has_help_with_an_example(
    words: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--help"]) == 0
    text = capsys.readouterr().out
    assert "Example" in text
    assert "netmgr" in text
    if words:
        assert f"netmgr {words[0]}" in text
    assert all(len(line) <= 80 for line in text.splitlines())


@pytest.mark.parametrize("name", sorted(BY_CODE))
def test_each_error_of_the_daemon_has_its_status(
    name: str, netmgr: Callable[..., Any], daemon: Any
) -> None:
    daemon.answers["GET /v1/status"] = BY_CODE[name]("it is so", fact=1)
    done = netmgr("status")
    assert done.status == BY_CODE[name].exit_status
    assert done.err == "netmgr: it is so\n"
    assert done.out == ""


def test_an_unknown_code_is_a_failure(netmgr: Callable[..., Any], daemon: Any) -> None:
    class Odd(NetmgrError):
        code = "odd"

    daemon.answers["GET /v1/status"] = Odd("strange")
    assert netmgr("status").status == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["sandbx"], "did you mean 'sandbox'?"),
        (["sandbox", "create"], "NAME"),
        (["sandbox", "list", "-o", "xml"], "'xml'"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_usage_errors(words: list[str], hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    told = capsys.readouterr()
    assert hint in told.err
    assert told.out == ""


def test_no_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--socket", str(tmp_path / "no.sock"), "status"]) == 5
    assert "netmgr daemon" in capsys.readouterr().err


def test_the_socket_may_be_named_behind_the_command(
    daemon: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", "--socket", daemon.path]) == 0
    assert main(["sandbox", "list", "--socket", daemon.path]) == 0


def test_the_outer_socket_reaches_inner_commands(daemon: Any) -> None:
    assert main(["--socket", daemon.path, "sandbox", "list"]) == 0


@pytest.mark.parametrize("behind", [False, True], ids=["before", "behind"])
def test_what_is_said_beats_what_the_environment_says(
    daemon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, behind: bool
) -> None:
    def status(socket: str) -> int:
        words = ["--socket", socket]
        return main(["status", *words] if behind else [*words, "status"])

    monkeypatch.setenv("NETMGR_SOCKET", str(tmp_path / "no.sock"))
    assert status(daemon.path) == 0
    monkeypatch.setenv("NETMGR_SOCKET", daemon.path)
    assert status(str(tmp_path / "no.sock")) == 5


def test_interruption(netmgr: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("netmgr_cli.options.Session.client", interrupt)
    done = netmgr("status")
    assert (done.status, done.err.lstrip()) == (130, "netmgr: interrupted\n")


def test_starting_is_fast_and_light() -> None:
    """`--help` loads no library that it does not need; what it takes is told in CPU time, of which
    a busy machine takes no more."""
    heavy = ("httpx", "rich", "yaml", "pydantic", "cryptography", "asyncio", "netmgr.policy")
    code = (
        "import sys; from netmgr_cli.main import main; main(['--help'])\n"
        f"print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = python("-c", code)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.stderr.strip() == "[]"
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3


def test_a_reader_that_leaves_is_no_error(daemon: Any) -> None:
    daemon.answers["GET /v1/records"] = [daemon.answers["GET /v1/records"][0]] * 5000
    words = [sys.executable, "-m", "netmgr_cli", "--socket", daemon.path, "observe", "-o", "json"]
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": ROOM},
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(30) == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", shell]) == 0
    assert "_NETMGR_COMPLETE" in capsys.readouterr().out


def test_completion_offers_commands() -> None:
    env = {"_NETMGR_COMPLETE": "bash_complete", "COMP_WORDS": "netmgr sandbox ", "COMP_CWORD": "2"}
    done = subprocess.run(
        [sys.executable, "-c", "from netmgr_cli.main import main; main()"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": ROOM, **env}, check=False,
    )  # fmt: skip
    assert "plain,create" in done.stdout.splitlines()


def test_version(netmgr: Callable[..., Any]) -> None:
    assert netmgr("version", "-o", "json").json["daemon"] == "9.9"


def test_version_without_a_daemon(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--socket", str(tmp_path / "no"), "version", "-o", "json"]) == 0
    assert '"daemon": null' in capsys.readouterr().out


def test_status_of_an_unwell_daemon(netmgr: Callable[..., Any], daemon: Any) -> None:
    daemon.answers["GET /v1/status"] = {"ok": False, "workers": []}
    assert netmgr("status").status == 1


def test_the_documentation_names_every_command() -> None:
    text = (Path(__file__).parents[3] / "docs" / "cli.md").read_text()
    groups = {words[:-1] for words in every_command() if words}
    for words in every_command():
        if words and words not in groups:
            assert f"`netmgr {' '.join(words)}" in text
