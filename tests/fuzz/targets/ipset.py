"""Set listings of the kernel: sets and entries, or `HostFailed`; what we write we read."""

from netmgr.errors import HostFailed
from netmgr.kernel.ipset_codec import Attr, Listed, SetSpec, pack_entry, parse_listed, parse_spec
from netmgr.kernel.netlink import iter_attrs, parse_attrs


def fuzz(data: bytes) -> None:
    """One payload of a listing, without its family header."""
    attrs = parse_attrs(data)
    spec = _spec(attrs)
    assert spec is None or spec.max_entries >= 0
    for _, item in iter_attrs(attrs.get(Attr.ADT, b"")):
        listed = _listed(item)
        if listed is not None and (listed.entry.iface or "").isascii():
            again = _listed(memoryview(pack_entry(listed.entry)))
            assert again is not None
            assert again.entry == listed.entry
            str(listed.entry)


def _spec(attrs: dict[int, memoryview]) -> SetSpec | None:
    try:
        return parse_spec(attrs)
    except HostFailed:
        return None


def _listed(item: memoryview) -> Listed | None:
    try:
        return parse_listed(item)
    except HostFailed:
        return None
