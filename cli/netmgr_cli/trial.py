"""Owns: a hub on trial: the real sets and the real rules, in a network namespace of a child
process that ends with it. What the kernel takes there it takes in earnest too; the host's own
tables are not even read.
"""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final, NoReturn

from netmgr.errors import NetmgrError

TRIAL_S: Final = 120  # a dozen kernel modules from a cold disk; on an emulated machine half of it
MAX_REPORT: Final = 64 * 1024
SETS: Final = "ipset types"
RULES: Final = "iptables rule set (legacy)"
STEPS: Final = (SETS, RULES)

Report = dict[str, str | None]


def try_hub() -> Report:
    """Each step's name with None, or with what went wrong. Needs root.

    A step that is not in the report was not reached: the child ended before.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _be_child(writer)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read(MAX_REPORT)  # until the child ends: its alarm bounds that
    os.waitpid(pid, 0)
    report: Report = {}
    for line in data.splitlines():
        report.update(json.loads(line))
    return report


def _be_child(writer: int) -> NoReturn:
    try:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(TRIAL_S)
        from netmgr.kernel.syscalls import CLONE_NEWNET, unshare

        unshare(CLONE_NEWNET)
        for name, step in ((SETS, _sets), (RULES, _rules)):
            os.write(writer, json.dumps({name: _outcome(step)}).encode() + b"\n")
    finally:
        os._exit(0)


def _outcome(step: Callable[[], None]) -> str | None:
    try:
        step()
    except (NetmgrError, OSError) as error:
        return str(error)
    return None


def _sets() -> None:
    from netmgr.kernel.facts import HubSpec
    from netmgr.kernel.ipset import Ipset
    from netmgr.kernel.sets import set_specs
    from netmgr.model import InstanceName

    ipsets = Ipset()
    try:
        for spec in set_specs(HubSpec(InstanceName("trial"), Path("/run/netns"))):
            ipsets.create(spec)
    finally:
        ipsets.close()


def _rules() -> None:
    from netmgr.errors import HostFailed
    from netmgr.kernel.facts import HubSpec
    from netmgr.kernel.ruleset import differences, rule_set
    from netmgr.kernel.tables import LegacyTables
    from netmgr.model import InstanceName

    spec = HubSpec(InstanceName("trial"))
    wanted = rule_set(spec.instance, spec.proxy_port)
    tables = LegacyTables()
    tables.install(wanted)
    left = differences(wanted, tables.read(wanted))
    if left:
        raise HostFailed(f"the rules do not stand as written: {left[0]}")
