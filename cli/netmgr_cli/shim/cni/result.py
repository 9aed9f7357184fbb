"""Owns: the results of the plugin, in the form of the version that was asked. No I/O."""

from netmgr_cli.shim.cni.request import LINK, VERSIONS

WITHOUT_FAMILY = "1.0.0"  # from here on an address no longer says which family it is of


def render_versions(version: object) -> dict[str, object]:
    """The answer to VERSION."""
    return {"cniVersion": str(version), "supportedVersions": list(VERSIONS)}


def render_attachment(version: str, netns: str, sandbox: dict[str, object]) -> dict[str, object]:
    """The answer to ADD: one link, one address, one way.

    The link's other end is in the hub, not in the host's namespace, so it is not listed.

    Args:
        sandbox: as the control API describes it.
    """
    gateway = str(sandbox["gateway"])
    address: dict[str, object] = {
        "address": f"{sandbox['address']}/32",
        "gateway": gateway,
        "interface": 0,
    }
    if VERSIONS.index(version) < VERSIONS.index(WITHOUT_FAMILY):
        address["version"] = "4"
    return {
        "cniVersion": version,
        "interfaces": [{"name": LINK, "mac": sandbox["mac"], "sandbox": netns}],
        "ips": [address],
        "routes": [{"dst": "0.0.0.0/0", "gw": gateway}],
        "dns": {"nameservers": [gateway]},
    }


def attached_addresses(previous: object) -> list[str]:
    """The addresses of a result, without their lengths."""
    ips = previous.get("ips") if isinstance(previous, dict) else None
    found = [each.get("address", "") for each in ips or [] if isinstance(each, dict)]
    return [str(address).partition("/")[0] for address in found]
