"""As whom a command runs, and with which environment. Pure but for the user database."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput
from netmgr_cli.identity import Identity, choose_identity, environment, is_hidden

WHO = Identity(uid=7, gid=7, groups=(7,), name="ann", home="/home/ann", shell="/bin/sh")


@pytest.mark.parametrize(
    ("user", "environ", "uid"),
    [
        (None, {}, 65534),
        (None, {"SUDO_UID": "1"}, 1),
        (None, {"SUDO_UID": "0"}, 65534),
        (None, {"SUDO_UID": ""}, 65534),
        (None, {"SUDO_UID": "-1"}, 65534),
        (None, {"SUDO_UID": "1 "}, 65534),
        ("root", {"SUDO_UID": "1"}, 0),
        ("0", {}, 0),
        ("daemon", {}, 1),
        ("4000000000", {}, 4_000_000_000),
        (None, {"SUDO_UID": "4000000000"}, 4_000_000_000),
    ],
)
def test_choice(user: str | None, environ: dict[str, str], uid: int) -> None:
    assert choose_identity(user, environ).uid == uid


def test_a_number_without_a_name_has_no_group_of_anybody() -> None:
    found = choose_identity("4000000000", {})
    assert (found.gid, found.groups, found.home) == (65534, (65534,), "/")


@pytest.mark.parametrize(
    "user", ["no-such-user", "", "4294967295", "4294967296", "99999999999999999999", "-1"]
)
def test_no_such_user(user: str) -> None:
    with pytest.raises(BadInput, match="no such user"):
        choose_identity(user, {})


def test_a_system_users_shell_is_one_that_runs() -> None:
    assert choose_identity("nobody").shell == "/bin/sh"


@pytest.mark.parametrize(
    "name",
    [
        "SSH_AUTH_SOCK",
        "DBUS_SESSION_BUS_ADDRESS",
        "http_proxy",
        "ALL_PROXY",
        "SUDO_COMMAND",
        "TMUX",
    ],
)
def test_hidden(name: str) -> None:
    assert is_hidden(name)


@pytest.mark.parametrize("name", ["PATH", "LANG", "PROXY", "MY_DISPLAY", "TERM"])
def test_not_hidden(name: str) -> None:
    assert not is_hidden(name)


NAMES = st.sampled_from(["PATH", "HOME", "TMUX", "KEY", "no_proxy", "SSL_CERT_FILE", "USER", "X"])


@given(st.dictionaries(NAMES, st.text()), st.dictionaries(NAMES, st.text()), st.sets(NAMES))
def test_environment(outer: dict[str, str], trust: dict[str, str], secret: set[str]) -> None:
    inside = environment(outer, WHO, trust, secret)
    assert trust.items() <= inside.items()
    for name in inside.keys() - trust.keys() - {"HOME", "USER", "LOGNAME", "SHELL"}:
        assert name not in secret
        assert not is_hidden(name)
        assert inside[name] == outer[name]
