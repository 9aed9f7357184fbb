"""Owns: turning refused packets into reports: the first at once, repeats counted. Pure.

No clock, no sockets: the caller brings time. Nothing is lost in the counts: the reports' counts add
up to the packets taken. Memory is bounded, and one sandbox cannot use up another's share.
"""

from dataclasses import dataclass
from typing import Any, Final

from netmgr.kernel.nflog import DeniedPacket

WINDOW_S: Final = 10.0  # repeats become one record per 10 s (contract)
MAX_KEYS: Final = 64  # different denials of one link that are told apart within a window
MAX_LINKS: Final = 16_384  # as many as sandboxes; beyond it links share one account

PROTOCOL_NAMES: Final = {1: "icmp", 6: "tcp", 17: "udp"}


@dataclass(frozen=True, slots=True)
class Denial:
    """What was refused. Two packets with equal values are repeats of each other.

    Attributes:
        link: the hub's link that it came over: who it was, even with a false source.
        address: the source that it carried; None where several are counted together.
        ip, port, protocol: where it went; None where several are counted together.
        group: why (ruleset.GROUP_...).
    """

    link: str
    group: int
    address: str | None = None
    ip: str | None = None
    port: int | None = None
    protocol: str | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """`count` packets of one kind. `sport` is the first one's: its process may still be found."""

    denial: Denial
    sport: int | None
    count: int

    def to_wire(self) -> dict[str, Any]:
        """As the daemon is told."""
        denial = self.denial
        return {
            "link": denial.link,
            "address": denial.address,
            "group": denial.group,
            "ip": denial.ip,
            "port": denial.port,
            "protocol": denial.protocol,
            "sport": self.sport,
            "count": self.count,
        }


@dataclass(slots=True)
class _Repeats:
    since: float
    count: int = 0
    sport: int | None = None


_Account = dict[Denial, _Repeats]
"""One link's denials within the window: MAX_KEYS, and one more per group for the rest."""


class Denials:
    """Aggregates refused packets."""

    def __init__(self) -> None:
        self._accounts: dict[str, _Account] = {}

    def take(self, packet: DeniedPacket, link: str, now: float) -> Report | None:
        """Take one packet; gives a report where it is the first of its kind.

        Args:
            link: name of the link that it came over; '' where it is gone already.
            now: seconds, monotonic.
        """
        account_name = link
        if link not in self._accounts and len(self._accounts) >= MAX_LINKS:
            account_name = ""
        account = self._accounts.setdefault(account_name, {})
        denial = _judge(packet, link)
        if denial not in account and len(account) >= MAX_KEYS:
            denial = Denial(account_name, packet.group)
        repeats = account.get(denial)
        if repeats is None:
            account[denial] = _Repeats(now)
            return Report(denial, packet.sport, 1)
        if repeats.count == 0:
            repeats.sport = packet.sport
        repeats.count += 1
        return None

    def flush(self, now: float) -> list[Report]:
        """Reports of the repeats whose window is over. Kinds without repeats are forgotten."""
        reports: list[Report] = []
        for name, account in tuple(self._accounts.items()):
            for denial, repeats in tuple(account.items()):
                if now - repeats.since < WINDOW_S:
                    continue
                if repeats.count:
                    reports.append(Report(denial, repeats.sport, repeats.count))
                    account[denial] = _Repeats(now)
                else:
                    del account[denial]
            if not account:
                del self._accounts[name]
        return reports

    def drain(self) -> list[Report]:
        """Every repeat that was not reported yet; nothing is left."""
        reports = [
            Report(denial, repeats.sport, repeats.count)
            for account in self._accounts.values()
            for denial, repeats in account.items()
            if repeats.count
        ]
        self._accounts.clear()
        return reports

    def __len__(self) -> int:
        return sum(map(len, self._accounts.values()))


def _judge(packet: DeniedPacket, link: str) -> Denial:
    protocol = packet.protocol
    return Denial(
        link=link,
        group=packet.group,
        address=None if packet.source is None else str(packet.source),
        ip=None if packet.destination is None else str(packet.destination),
        port=packet.dport,
        protocol=None if protocol is None else PROTOCOL_NAMES.get(protocol, str(protocol)),
    )
