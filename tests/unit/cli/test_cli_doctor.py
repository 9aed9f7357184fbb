"""Host checks: judgements are pure, the looking is done on this host as it is."""

from collections.abc import Callable
from typing import Any

import pytest

from netmgr_cli import hostchecks, trial
from netmgr_cli.hostchecks import KERNEL_OPTIONS, Check, State

Netmgr = Callable[..., Any]


def config(*options: str) -> str:
    lines = [f"CONFIG_{name}={value}" for name in options for value in ("y",)]
    return "\n".join(["# CONFIG_X is not set", *lines, 'CONFIG_NAME="y"', ""])


def test_a_whole_kernel() -> None:
    (check,) = hostchecks.judge_kernel_config(config(*KERNEL_OPTIONS))
    assert check.state is State.OK


@pytest.mark.parametrize("missing", KERNEL_OPTIONS)
def test_a_missing_option(missing: str) -> None:
    text = config(*(name for name in KERNEL_OPTIONS if name != missing))
    (check,) = hostchecks.judge_kernel_config(text + f"# CONFIG_{missing} is not set\n")
    assert check.name == f"CONFIG_{missing}"
    assert check.state is (State.FAIL if KERNEL_OPTIONS[missing][0] else State.WARN)
    assert check.remedy


def test_modules_count_as_there() -> None:
    text = config(*KERNEL_OPTIONS).replace("CONFIG_VETH=y", "CONFIG_VETH=m")
    assert hostchecks.judge_kernel_config(text)[0].state is State.OK


def test_chains_that_drop() -> None:
    def chain(hook: str, policy: str) -> dict[str, Any]:
        facts = {"family": "inet", "table": "t", "name": hook, "hook": hook, "policy": policy}
        return {"chain": facts}

    listing = {"nftables": [
        {"metainfo": {}}, chain("output", "drop"), chain("input", "accept"),
        chain("forward", "drop"), {"chain": {"family": "ip", "table": "t", "name": "plain"}},
    ]}  # fmt: skip
    assert hostchecks.dropping_chains(listing) == ["inet t output"]
    assert hostchecks.dropping_chains({}) == []


def test_a_trial_that_ended_early_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(trial, "try_hub", lambda: {trial.SETS: "no ip_set"})
    sets, rules = hostchecks.check_hub()
    assert (sets.state, sets.found) == (State.FAIL, "no ip_set")
    assert (rules.state, "before it could tell" in rules.found) == (State.FAIL, True)


def test_without_root_nothing_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert {check.state for check in hostchecks.check_hub()} == {State.WARN}
    (root,) = hostchecks.check_privileges()
    assert root.state is State.FAIL


def test_the_status_follows_the_worst(netmgr: Netmgr, monkeypatch: pytest.MonkeyPatch) -> None:
    fine, bad = Check("a", State.OK, "there"), Check("b", State.FAIL, "missing", "apt install b")
    monkeypatch.setattr(hostchecks, "host_checks", lambda: [fine])
    assert netmgr("doctor").status == 0
    monkeypatch.setattr(hostchecks, "host_checks", lambda: [fine, bad])
    done = netmgr("doctor")
    assert done.status == 1
    assert "apt install b" in done.out
    assert netmgr("doctor", "-o", "json").json["ok"] is False


def test_every_failure_has_a_remedy() -> None:
    for check in (*hostchecks.check_versions(), *hostchecks.check_packages(),
                  *hostchecks.check_directories(), *hostchecks.check_files()):  # fmt: skip
        assert check.state is State.OK or check.remedy
