"""netmgr.yaml and resolv.conf: settings, or `BadInput` with a line for each problem."""

from netmgr.errors import BadInput
from netmgr.settings.file import MAX_NAMESERVERS, parse_resolv_conf, parse_settings
from netmgr.settings.table import Settings, settings_keys

WORDS = (
    *(f"{name}: ".encode() for name in sorted(settings_keys())),
    b"&a ",
    b"*a",
    b"<<: ",
    b"!!int ",
    b"!!float ",
    b"!!bool ",
    b"!!timestamp ",
    b"!!binary ",
    b"!!set ",
    b"!!omap ",
    b"10.0.0.0/8",
    b"[::1]:53",
    b"- ",
    b"[",
    b"nameserver ",
)
MAX_MESSAGE = 64 * 1024  # characters; a file of 4 KiB has no more to be told about it


def fuzz(data: bytes) -> None:
    """Nothing but `BadInput`, whose every line names the file, and which can be printed."""
    text = data.decode("utf-8", "surrogateescape")
    assert len(parse_resolv_conf(text)) <= MAX_NAMESERVERS
    values = None
    try:
        values = parse_settings(text, "n.yaml")
        Settings(**values)
    except BadInput as problem:
        message = problem.message
    else:
        return
    assert len(message) <= MAX_MESSAGE
    # What is wrong between two keys has no line.
    assert all(line.startswith("n.yaml") for line in message.split("\n")) or values
