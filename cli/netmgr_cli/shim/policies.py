"""Owns: reading the policy that a runtime's configuration names. The daemon never opens a file that
somebody names to it; what is executed for the container does.
"""

from os.path import lexists

MAX_POLICY = 1024 * 1024  # bytes, as the control API has it
DIRECTORY = "/etc/netmgr/policies"
SUFFIXES = (".yaml", ".yml")
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class Unreadable(Exception):
    """There is no such policy, or it cannot be read; the text says which and where."""


def read_policy(word: str, directory: str = DIRECTORY) -> dict[str, str]:
    """The body's `policy` for a policy's name, or for the absolute path of its file.

    Raises:
        Unreadable: neither, absent, too long, or not UTF-8.
    """
    if word.startswith("/"):
        candidates = [word]
    elif is_policy_name(word):
        candidates = [f"{directory}/{word}{suffix}" for suffix in SUFFIXES]
    else:
        raise Unreadable(
            f"policy {word!r}: expected an absolute path, or the name of a file in {directory} "
            "without its suffix"
        )
    for path in candidates:
        found = _read(path)
        if found is not None:
            return found
    raise Unreadable(f"policy {word!r}: there is no {candidates[0]}")


def has_policy(name: str, directory: str = DIRECTORY) -> bool:
    """Whether there is a policy of that name."""
    return any(lexists(f"{directory}/{name}{suffix}") for suffix in SUFFIXES)


def is_policy_name(word: str) -> bool:
    """Whether a word is a plain file name: it cannot lead out of the directory."""
    return bool(word) and _PLAIN.issuperset(word) and not word.startswith(".")


def _read(path: str) -> dict[str, str] | None:
    try:
        with open(path, "rb") as file:
            raw = file.read(MAX_POLICY + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unreadable(f"policy {path}: {error.strerror}") from error
    if len(raw) > MAX_POLICY:
        raise Unreadable(f"policy {path}: longer than {MAX_POLICY} bytes")
    try:
        return {"text": raw.decode(), "source": path}
    except UnicodeDecodeError as error:
        raise Unreadable(f"policy {path}: no UTF-8 at byte {error.start}") from error
