"""Owns: a model call as it comes in: its head, and where it came from. Decides nothing."""

from typing import NamedTuple

from netmgr.inference.protocols import Shape
from netmgr_proxy.admission import Admissions
from netmgr_proxy.inference.patterns import shape_of_path
from netmgr_proxy.room import Room
from netmgr_proxy.wire.request import Head


class Asked(NamedTuple):
    """A call's head and where it came from.

    Attributes:
        address: the sandbox's.
        admissions: what is known from the connection's calls before.
        scheme: of the client's connection.
    """

    room: Room
    address: str
    head: Head
    admissions: Admissions
    scheme: str
    request_id: str

    @property
    def shape(self) -> Shape:
        """How errors are worded, as far as the path tells."""
        return shape_of_path(self.head.target.partition(b"?")[0].decode("latin-1"))
