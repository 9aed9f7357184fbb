"""What a privileged container does with its own link in the moment before it is ended: makes links
of every kind, here and through the id that its link gives it of the hub, and sends on each.

    python -I reacher.py TAG NEIGHBOURS-INDEX      prints one line of JSON: move -> what came of it
"""

import json
import os
import socket
import sys
from collections.abc import Callable

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

HUB = 0  # the id of the hub in a sandbox: its only one
PUBLIC, NEIGHBOUR, HOST = "198.51.100.7", "10.77.0.1", "192.0.2.1"
PORTS = (53, 443, 5432, 9997)
BROADCAST = b"\xff" * 6
_IPV4 = b"\x08\x00"


def moves(kernel: IPRoute, neighbour: int) -> dict[str, Callable[[], object]]:
    """Each by its name."""
    (eth0,) = kernel.link_lookup(ifname="eth0")
    add = {"command": "add"}

    there = {"ifname": "evil0", "target_netnsid": HUB}

    def own(kind: str, **how: object) -> Callable[[], object]:
        return lambda: kernel.link(**add, **{"ifname": kind, "kind": kind, **how})

    remote = {"vxlan_id": 7, "vxlan_group": PUBLIC, "vxlan_port": 4789}
    through = {"link": neighbour, "link_netnsid": HUB}
    return {
        "list the hub": lambda: len(kernel.link("dump", target_netnsid=HUB)),
        "a link into the hub": own("veth", ifname="mine", peer=there),
        "a tunnel that lives in the hub": own("vxlan", ifname="hubvx", link_netnsid=HUB, **remote),
        "macvlan over a neighbour": own(
            "macvlan", ifname="theirs", macvlan_mode="bridge", **through
        ),
        "vlan": own("vlan", link=eth0, vlan_id=7),
        "vxlan": own("vxlan", vxlan_link=eth0, **remote),
        "ipip": own("ipip", ipip_remote=PUBLIC, ipip_link=eth0),
        "gre": own("gre", gre_remote=PUBLIC, gre_link=eth0),
    }


def attempt(move: Callable[[], object]) -> object:
    try:
        move()
        return "done"
    except (NetlinkError, OSError, ValueError) as error:
        return str(error)


def frame(mac: bytes, source: str, destination: str, port: int, tag: bytes) -> bytes:
    """A datagram to everybody on a link; its checksums are nobody's business."""
    length = (28 + len(tag)).to_bytes(2, "big")
    head = b"\x45\0" + length + b"\0\1\0\0\x40\x11\0\0"
    head += socket.inet_aton(source) + socket.inet_aton(destination)
    total = sum(int.from_bytes(head[at : at + 2], "big") for at in range(0, 20, 2))
    total = (total & 0xFFFF) + (total >> 16)
    head = head[:10] + (~total & 0xFFFF).to_bytes(2, "big") + head[12:]
    body = (4711).to_bytes(2, "big") + port.to_bytes(2, "big")
    body += (8 + len(tag)).to_bytes(2, "big") + b"\0\0" + tag
    return BROADCAST + mac + _IPV4 + head + body


def shoot(link: str, source: str, tag: bytes) -> object:
    """Frames and datagrams on one link; how many went out of our hands."""
    sent = 0
    for target in (PUBLIC, NEIGHBOUR, HOST):
        for port in PORTS:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as raw:
                raw.bind((link, 0))
                sent += raw.send(frame(b"\2nmbox", source, target, port, tag)) > 0
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, link.encode())
                try:
                    sent += plain.sendto(tag, (target, port)) > 0
                except OSError:
                    continue  # it has no way there; the raw one needs none
    return sent


def main(tag: str, neighbour: str) -> None:
    with IPRoute() as kernel:
        said = {name: attempt(move) for name, move in moves(kernel, int(neighbour)).items()}
        own = dict(kernel.get_addr(label="eth0")[0]["attrs"])["IFA_LOCAL"]
        for link in kernel.get_links():
            name = dict(link["attrs"])["IFLA_IFNAME"]
            if name != "lo":
                said[f"up {name}"] = attempt(
                    lambda at=link["index"]: kernel.link("set", index=at, state="up")  # type: ignore[misc]
                )
                said[f"sent on {name}"] = attempt(lambda at=name: shoot(at, own, tag.encode()))  # type: ignore[misc]
    print(json.dumps(said), flush=True)
    os.execvp("sleep", ["sleep", "600"])  # no program of the tests' any more


if __name__ == "__main__":
    main(*sys.argv[1:])
