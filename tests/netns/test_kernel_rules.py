"""The rules helper and python-iptables' hazards, each with its remedy, on the real kernel."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from netns.hub_stage import HelperRefused, HubStage

from netmgr.kernel.ruleset import rule_set

pytestmark = pytest.mark.root


def saved(stage: HubStage, command: str = "iptables-legacy-save") -> set[str]:
    """Rules and policies as another program sees them, without counters."""
    found = set()
    table = ""
    for line in stage.in_hub(command).splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith(":"):
            chain, policy, _ = line[1:].split()
            found.add(f"{table}: -P {chain} {policy}")
        elif line.startswith("-A"):
            found.add(f"{table}: {line}")
    return found


def test_another_program_sees_the_very_text(stage: HubStage) -> None:
    lines = set(rule_set(stage.spec.instance, stage.spec.proxy_port).lines())
    ours = {line.removeprefix("ip ") for line in lines if line.startswith("ip ")}
    ours6 = {line.removeprefix("ip6 ") for line in lines if line.startswith("ip6 ")}
    accepting = {line for line in saved(stage) if line.endswith(" ACCEPT") and ": -P " in line}
    assert saved(stage) - accepting == ours - accepting
    assert ours - saved(stage) == set()
    assert ours6 - saved(stage, "ip6tables-legacy-save") == set()


def test_install_twice_is_once_and_keeps_counters(stage: HubStage) -> None:
    talk = "import socket; socket.socket(type=2).sendto(b'x' * 9, ('127.0.0.1', 9))"
    stage.in_hub(sys.executable, "-c", talk + ";" + talk)
    before = stage.rules.ask("show")["chains"]
    lo = next(c for c in before if (c["table"], c["chain"]) == ("raw", "PREROUTING"))["rules"][0]
    assert lo["rule"] == "-i lo -j ACCEPT"
    assert lo["counters"][0] >= 2
    stage.rules.ask("install")
    assert stage.rules.ask("show")["chains"] == before


def test_what_was_changed_by_hand_is_told_in_words(stage: HubStage) -> None:
    assert stage.rules.ask("verify") == {"differences": []}
    iptables = ("iptables-legacy", "-w")
    stage.in_hub(*iptables, "-t", "raw", "-D", "PREROUTING", "5")
    stage.in_hub(*iptables, "-P", "INPUT", "ACCEPT")
    stage.in_hub(*iptables, "-I", "OUTPUT", "1", "-d", "192.0.2.1", "-j", "ACCEPT")
    stage.in_hub(*iptables, "-t", "nat", "-A", "OUTPUT", "-p", "tcp", "-j", "ACCEPT")
    stage.in_hub(*iptables, "-N", "strange")
    stage.in_hub("ip6tables-legacy", "-w", "-P", "FORWARD", "ACCEPT")
    words = stage.rules.ask("verify")["differences"]
    assert words == [
        "iptables raw PREROUTING: rule 5 is missing: "
        f"-m set ! --match-set {stage.spec.instance}-bind src,src -j DROP",
        "iptables filter INPUT: policy is ACCEPT instead of DROP",
        "iptables filter OUTPUT: rule 1 is not ours: "
        "-m also --dst 192.0.2.1/255.255.255.255 -j ACCEPT",
        "iptables filter strange: a chain that is not ours",
        "iptables nat OUTPUT: rule 1 is not ours: -p tcp -j ACCEPT",
        "ip6tables filter FORWARD: policy is ACCEPT instead of DROP",
    ]
    stage.rules.ask("install")
    assert stage.rules.ask("verify") == {"differences": []}
    assert not any("strange" in line for line in saved(stage))


def test_a_flush_of_everything_is_repaired(stage: HubStage) -> None:
    for table in ("raw", "mangle", "filter"):
        stage.in_hub("iptables-legacy", "-w", "-t", table, "-F")
    assert len(stage.rules.ask("verify")["differences"]) == 30
    assert stage.rules.ask("install") == {"rules": 30}


def test_a_missing_set_is_named_before_anything_is_done(stage: HubStage) -> None:
    before = saved(stage)
    for table in ("raw", "mangle", "filter"):
        stage.in_hub("iptables-legacy", "-w", "-t", table, "-F")
    stage.in_hub("ipset", "destroy", f"{stage.spec.instance}-muted")
    with pytest.raises(HelperRefused, match=f"{stage.spec.instance}-muted") as refusal:
        stage.rules.ask("install")
    assert refusal.value.error["code"] == "host_failed"
    stage.kernel.ensure_hub()
    stage.rules.ask("install")
    assert saved(stage) == before


def test_a_concurrent_writer_is_waited_out(stage: HubStage) -> None:
    """No lock is taken by python-iptables: a writer gives EAGAIN."""
    path = stage.spec.netns_dir / stage.spec.hub_netns
    loop = "for i in $(seq 150); do iptables-legacy -w -A FORWARD -j DROP; done"
    writer = subprocess.Popen(["nsenter", f"--net={path}", "sh", "-c", loop])
    refusals = []
    while writer.poll() is None:
        try:
            stage.rules.ask("install")
        except HelperRefused as refusal:  # it wrote again between our commit and the read-back
            refusals.append(str(refusal))
    assert writer.returncode == 0
    assert all("not ours" in text or "kept writing" in text for text in refusals)
    stage.rules.ask("install")
    assert stage.rules.ask("verify") == {"differences": []}


def test_the_helper_keeps_two_capabilities(stage: HubStage) -> None:
    status = Path(f"/proc/{stage.rules.process.pid}/status").read_text()
    fields = dict(line.split(":\t", 1) for line in status.splitlines() if ":\t" in line)
    net_admin_and_raw = 1 << 12 | 1 << 13
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(fields[name], 16) == net_admin_and_raw
    assert fields["NoNewPrivs"] == "1"
    assert fields["Threads"] == "1"
    hub = os.stat(stage.spec.netns_dir / stage.spec.hub_netns).st_ino
    assert os.stat(f"/proc/{stage.rules.process.pid}/ns/net").st_ino == hub


def test_the_helper_ends_with_the_daemon(stage: HubStage) -> None:
    assert stage.rules.close() == 0


def test_an_unknown_verb_is_refused(stage: HubStage) -> None:
    with pytest.raises(HelperRefused, match="does not answer 'dance'"):
        stage.rules.ask("dance")


# -- hazards, each in a process of its own ---------------------------------------------------

ENTER = """
from netmgr.kernel import syscalls
syscalls.unshare(syscalls.CLONE_NEWNET)
from netmgr.errors import HostFailed
from netmgr.kernel.ruleset import Chain, Extension, Rule, RuleSet
from netmgr.kernel.tables import LegacyTables
tables = LegacyTables()
"""


def alone(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", ENTER + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_a_failed_commit_raises_and_changes_nothing() -> None:
    """autocommit would swallow it: REDIRECT is refused by the kernel in table filter."""
    done = alone("""
        good = RuleSet({"filter": {"INPUT": Chain("DROP", (Rule(Extension("ACCEPT")),))}}, {})
        bad = RuleSet({"filter": {"INPUT": Chain("ACCEPT", (
            Rule(Extension("REDIRECT", (("to-ports", "80"),)), protocol="tcp"),))}}, {})
        tables.install(good)
        try:
            tables.install(bad)
        except HostFailed as refusal:
            print("refused", tables.read(good) == good)
    """)
    assert (done.returncode, done.stdout) == (0, "refused True\n"), done.stderr


def test_options_that_corrupted_memory_are_safe() -> None:
    """NFLOG with a prefix wrote into freed memory: a crash within 300 rules without the remedy."""
    done = alone("""
        log = Extension("NFLOG", (("nflog-prefix", "x"), ("nflog-group", "3")))
        many = RuleSet({"filter": {"INPUT": Chain("DROP", (Rule(log),) * 600)}}, {})
        tables.install(many)
        found = tables.read(many).ipv4["filter"]["INPUT"]
        print(len(found.rules), {dict(r.target.options)["nflog-group"] for r in found.rules})
    """)
    assert (done.returncode, done.stdout) == (0, "600 {'3'}\n"), done.stderr


def test_a_table_is_read_in_the_namespace_that_we_are_in() -> None:
    """A cached handle stays bound to the namespace that it was made in."""
    done = alone("""
        wanted = RuleSet({"filter": {"INPUT": Chain("DROP")}}, {})
        tables.install(wanted)
        syscalls.unshare(syscalls.CLONE_NEWNET)
        print(tables.read(wanted).ipv4["filter"]["INPUT"].policy)
    """)
    assert (done.returncode, done.stdout) == (0, "ACCEPT\n"), done.stderr


def test_a_missing_table_names_the_module() -> None:
    done = alone("""
        try:
            tables.install(RuleSet({"nosuch": {"INPUT": Chain("DROP")}}, {}))
        except HostFailed as refusal:
            print(refusal)
    """)
    assert "no legacy iptables table 'nosuch'" in done.stdout, done.stderr
    assert "iptable_nosuch" in done.stdout


def test_a_missing_extension_names_the_package() -> None:
    done = alone("""
        try:
            tables.install(RuleSet({"filter": {"INPUT": Chain("DROP", (
                Rule(Extension("NOSUCH")),))}}, {}))
        except HostFailed as refusal:
            print(refusal)
    """)
    assert "package iptables" in done.stdout, done.stderr


def test_missing_libraries_name_the_package() -> None:
    code = """
        import ctypes.util
        from netmgr.errors import HostFailed
        ctypes.util.find_library = lambda name: None
        from netmgr.kernel.tables import LegacyTables
        try:
            LegacyTables()
        except HostFailed as refusal:
            print(refusal)
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, timeout=60
    )
    assert "libip4tc, libip6tc, libxtables; install the package iptables" in done.stdout
