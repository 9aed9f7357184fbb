"""`run`: which daemon, which sandbox, and that it is gone afterwards. tests/netns enters in
earnest; here the command is not started."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netmgr.errors import Conflict, HostFailed, NotFound
from netmgr_cli import enter, private
from netmgr_cli.enter import Errand
from netmgr_cli.run import _Ending, undisturbed

Netmgr = Callable[..., Any]


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> list[Errand]:
    """Errands that would have been run; their status is 7."""
    errands: list[Errand] = []

    def note(errand: Errand) -> int:
        errands.append(errand)
        return 7

    monkeypatch.setattr(enter, "enter", note)
    return errands


@pytest.fixture
def any_name(daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("secrets.token_hex", lambda _: "0")
    daemon.answers["DELETE /v1/sandboxes/run-0"] = {}


@pytest.mark.usefixtures("any_name")
def test_a_sandbox_for_one_command(netmgr: Netmgr, daemon: Any, entered: list[Errand]) -> None:
    done = netmgr("run", "--allow", "a.example", "--user", "root", "--", "cmd", "--flag", "-o")
    assert done.status == 7
    assert [asked[:2] for asked in daemon.asked] == [
        ("GET", "/v1/version"),
        ("GET", "/v1/providers"),
        ("POST", "/v1/sandboxes"),
        ("DELETE", "/v1/sandboxes/run-0"),
    ]
    (errand,) = entered
    assert errand.command == ("cmd", "--flag", "-o")
    assert errand.identity.uid == 0
    assert errand.netns == Path("/run/netns/netmgr-demo")
    assert Path("/run/netmgr") in errand.hidden_dirs


@pytest.mark.usefixtures("any_name")
def test_credentials_of_providers_stay_outside(
    netmgr: Netmgr, entered: list[Errand], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", "sk-secret")
    netmgr("run", "--", "cmd")
    assert "NVIDIA_API_KEY" not in entered[0].env


@pytest.mark.usefixtures("any_name")
def test_the_sandbox_goes_whatever_happens(
    netmgr: Netmgr, daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for failure, status in ((HostFailed("no"), 1), (KeyboardInterrupt(), 130)):

        def fail(_: Errand, failure: BaseException = failure) -> int:
            raise failure

        monkeypatch.setattr(enter, "enter", fail)
        assert netmgr("run", "--", "cmd").status == status
        assert daemon.last[:2] == ("DELETE", "/v1/sandboxes/run-0")


@pytest.mark.usefixtures("entered")
def test_a_sandbox_that_is_there_already_is_not_touched(netmgr: Netmgr, daemon: Any) -> None:
    assert netmgr("run", "--name", "demo", "--", "cmd").status == 4
    assert {asked[0] for asked in daemon.asked} == {"GET"}


@pytest.mark.usefixtures("any_name")
def test_a_create_that_conflicts_deletes_nothing(
    netmgr: Netmgr, daemon: Any, entered: list[Errand]
) -> None:
    daemon.answers["POST /v1/sandboxes"] = Conflict("exists")
    assert netmgr("run", "--", "cmd").status == 4
    assert daemon.last[0] == "POST"
    assert entered == []


@pytest.mark.usefixtures("any_name", "entered")
def test_a_sandbox_that_stays_is_told(netmgr: Netmgr, daemon: Any) -> None:
    daemon.answers["DELETE /v1/sandboxes/run-0"] = HostFailed("busy")
    done = netmgr("run", "--", "cmd")
    assert done.status == 7
    assert "run-0 is left behind: busy" in done.err
    daemon.answers["DELETE /v1/sandboxes/run-0"] = NotFound("gone")
    assert netmgr("run", "--", "cmd").err == ""


def test_a_named_daemon_that_is_not_there(
    netmgr: Netmgr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NETMGR_SOCKET", str(tmp_path / "no.sock"))
    assert netmgr("run", "--", "cmd").status == 5


def test_a_host_with_state_gets_no_private_daemon(
    netmgr: Netmgr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NETMGR_SOCKET")
    monkeypatch.setattr("netmgr.client.DEFAULT_SOCKET", str(tmp_path / "no.sock"))
    monkeypatch.setattr("netmgr_cli.run._state_directory", lambda: tmp_path)
    done = netmgr("run", "--", "cmd")
    assert done.status == 5
    assert str(tmp_path) in done.err


def test_a_private_daemon_that_does_not_start_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setattr("sys.executable", "/bin/ls")  # it complains about `-m netmgr_cli` and ends
    with pytest.raises(HostFailed, match="ended with status 2"), private.private_daemon():
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["run"], ["sandbox", "exec"]])
def test_a_mistyped_option_is_no_command(netmgr: Netmgr, daemon: Any, words: list[str]) -> None:
    done = netmgr(*words, "--usr", "root", "demo", "--", "cmd")
    assert done.status == 2
    assert "--user" in done.err
    assert daemon.asked == []


@pytest.mark.parametrize(
    "words",
    [["run"], ["run", "--"], ["sandbox", "exec", "demo"], ["sandbox", "exec", "demo", "--"]],
)
def test_no_command(words: list[str], netmgr: Netmgr, daemon: Any) -> None:
    assert netmgr(*words).status == 2
    assert daemon.asked == []


def test_what_comes_while_undisturbed_is_delivered_afterwards() -> None:
    steps = []
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012 - the order is what is tested
        with undisturbed():
            signal.raise_signal(signal.SIGINT)
            steps.append("not cut short")
        steps.append("not reached")
    assert steps == ["not cut short"]


def test_a_signal_that_python_swallows_is_raised_again() -> None:
    """An exception out of a finalizer is printed and forgotten; the signal must not be."""
    ending = _Ending()
    with pytest.raises(SystemExit):
        ending.take(signal.SIGTERM, None)
    with pytest.raises(SystemExit) as again:
        ending.check()
    assert again.value.code == 128 + signal.SIGTERM
