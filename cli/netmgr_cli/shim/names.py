"""Owns: which sandbox a container is: a name that follows from the container's id alone, so that
whoever cleans up needs nothing but the id. No I/O.
"""

SHORT_ID = 12  # characters that `podman ps`, `docker ps` and `crictl pods` show of a 64-digit id
LONG_ID = 64  # hexadecimal digits of an id of podman, Docker, containerd and CRI-O
MAX_NAME = 63  # characters of a sandbox's name (netmgr.model)
_DIGITS = frozenset("0123456789abcdef")
_ALLOWED = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-")


def sandbox_name(container_id: str) -> str:
    """The name of a container's sandbox: what its engine shows of its id.

    Who acts on the sandbox compares its label with the whole id first: two ids may share a name,
    and then the second is refused, never mistaken for the first.
    """
    if is_long_id(container_id):
        return container_id[:SHORT_ID]
    if is_name(container_id):
        return container_id
    from hashlib import sha256  # a tenth of a start; ids that need it are rare

    mark = sha256(container_id.encode(errors="surrogateescape")).hexdigest()[:SHORT_ID]
    kept = "".join(c if c in _ALLOWED else "-" for c in container_id.lower()).strip("-")
    return f"{kept[: MAX_NAME - SHORT_ID - 1] or 'c'}-{mark}"


def is_long_id(text: str) -> bool:
    """Whether a text is an id as engines make them."""
    return len(text) == LONG_ID and _DIGITS.issuperset(text)


def is_name(text: str) -> bool:
    """Whether a text can be a sandbox's name as it stands."""
    return (
        0 < len(text) <= MAX_NAME and _ALLOWED.issuperset(text) and text[0] != "-" and text != "hub"
    )
