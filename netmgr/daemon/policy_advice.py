"""Owns: `policy propose` for a live sandbox: its records and its policy, brought together.

What is proposed is netmgr/policy/proposal.py's. Changes nothing.
"""

import asyncio
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from typing import Any, Final

from netmgr.daemon.core import Core
from netmgr.guard import Address, Network, Reach, judge_reach, parse_addresses
from netmgr.journal.filter import Filter
from netmgr.policy.proposal import IsPublic, fragment, propose
from netmgr.reasons import Verdict

JsonObject = dict[str, Any]

MAX_RECORDS: Final = 20_000  # of each verdict, the newest: a second's work, done beside the loop
SUGGESTED_LIFE: Final = timedelta(days=30)


async def propose_for(core: Core, sandbox: str, since: float | None) -> JsonObject:
    """The smallest rules that would have allowed what was denied or audited in a sandbox.

    Args:
        since: epoch seconds of the oldest record that counts; None: all that are kept.

    Raises:
        NotFound: no such sandbox.
    """
    resident = core.resident(sandbox)
    policy, revision = core.effective(resident)
    records = await _records(core, sandbox, since)
    here = await core.on_kernel(core.kernel.host_addresses)
    is_public = _publicity(parse_addresses(here), core.settings.treat_as_public)
    expires = (datetime.fromtimestamp(time.time(), UTC) + SUGGESTED_LIFE).date().isoformat()
    advice = await asyncio.to_thread(propose, policy, records, is_public)
    scope = core.scope(resident)
    return {
        "sandbox": sandbox,
        "policy_revision": revision,
        "records": len(records),
        "proposals": [each.to_doc(scope, expires) for each in advice.proposals],
        "skipped": [
            {"destination": destination, "why": why, "count": count}
            for (destination, why), count in advice.skipped.most_common()
        ],
        "fragment": fragment(advice, expires),
    }


async def _records(core: Core, sandbox: str, since: float | None) -> list[JsonObject]:
    found: list[JsonObject] = []
    for verdict in (Verdict.DENIED, Verdict.AUDITED):
        wanted = Filter(sandbox=sandbox, verdict=verdict.value, since=since, limit=MAX_RECORDS)
        found += await core.journal.query(wanted)
    return found


def _publicity(here: Collection[Address], public: Collection[Network]) -> IsPublic:
    def is_public(text: str) -> bool:
        try:
            return judge_reach(ip_address(text), here, public) is Reach.PUBLIC
        except ValueError:
            return False

    return is_public
