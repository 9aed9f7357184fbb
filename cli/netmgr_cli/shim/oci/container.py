"""Owns: one container on its way into being: read its configuration, judge it, give it a sandbox,
write the configuration anew; or, from a hook, do it from outside.
"""

import os
import sys

from netmgr_cli.shim import light
from netmgr_cli.shim.names import is_long_id
from netmgr_cli.shim.oci import judge
from netmgr_cli.shim.oci.dress import dress
from netmgr_cli.shim.oci.edit import Change, edit, unedited
from netmgr_cli.shim.oci.lodge import Lodger, attachment, foretell, identity, leave, lodge
from netmgr_cli.shim.oci.rootfs import Rootfs
from netmgr_cli.shim.oci.seccomp import has_vsock
from netmgr_cli.shim.oci.shape import require_plain, unique
from netmgr_cli.shim.oci.words import Refused, Words, wish_of

MAX_CONFIG = 16 * 1024 * 1024  # bytes; the largest in the field are some hundred KiB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def wrap(container: str, bundle: str, words: Words, path: str | None = None) -> None:
    """Give the container of a bundle its sandbox, and write that into the configuration.

    A user namespace must own the network namespace, so the runtime has to make both: then a hook
    attaches what it made, and mounts the files, while the runtime waits.

    Args:
        path: of the configuration, where it is not the bundle's.

    Raises:
        Refused: this container can have no sandbox.
        Failure: the daemon says no, or nobody answers.
        OSError: the bundle cannot be read or written.
    """
    path = path or f"{bundle}/config.json"
    config = unedited(read_container(path))
    shape = judge.shape_of(config, hosts_own(config))
    wish = wish_of(words, config.get("annotations"))
    hook = [*self_command("hook"), *words.as_arguments()]
    attach = attachment(shape)
    if shape.own_users and attach is None:
        change = Change()
        change.closes_vsock = has_vsock()
        change.env = foretell(Lodger(container, bundle), wish, words)
        change.hooks = {"createRuntime": hook, "poststop": hook}
        write_config(path, edit(config, change))
        return
    sandbox = lodge(Lodger(container, bundle), attach, wish, words)
    try:
        change = _dressed(sandbox, config, bundle)
        change.closes_vsock = has_vsock()
        change.netns = None if attach else sandbox["netns"]
        change.hooks = {"poststop": hook}
        write_config(path, edit(config, change))
    except BaseException:
        leave(Lodger(container, bundle), words)
        raise


def foresee(config: "dict[str, Any]", words: Words) -> "dict[str, Any]":
    """A precreate hook's work (podman's oci-hooks(5)): what only a configuration can say, before
    there is a container: variables, /proc/sys read-only, sockets. createRuntime does the rest.

    Raises:
        Refused, Failure: as `wrap`.
    """
    require_plain(config)
    config = unedited(config)
    judge.shape_of(config, hosts_own(config))
    wish = wish_of(words, config.get("annotations"))
    change = Change()
    change.closes_vsock = has_vsock()
    container = container_of(config)
    if container is not None:
        change.env = foretell(Lodger(container, ""), wish, words)
    return edit(config, change)


def container_of(config: "dict[str, Any]") -> str | None:
    """The id of a container of podman's, which has no other place for it in a configuration."""
    path = (config.get("linux") or {}).get("cgroupsPath")
    last = str(path).replace(":", "-").rpartition("libpod-")[2]
    return last if is_long_id(last) else None


def attach_starting(state: "dict[str, Any]", words: Words) -> None:
    """A createRuntime hook's work: attach the namespace that the runtime made, mount the files.

    Raises:
        Refused, Failure, OSError: as `wrap`.
    """
    from netmgr_cli.shim.oci.enter import mount_into  # ctypes: nobody else pays for it

    container, pid, bundle = str(state["id"]), int(state["pid"]), str(state["bundle"])
    config = read_container(f"{bundle}/config.json")
    shape = judge.shape_of(config, hosts_own(config))
    judge.require_read_only_sysctls(config)
    wish = wish_of(words, config.get("annotations"))
    attach = attachment(shape) or {"pid": pid, "starting": True}
    sandbox = lodge(Lodger(container, bundle), attach, wish, words)
    try:
        change = _dressed(sandbox, config, bundle)
        mount_into(pid, root_of(config, bundle), change.mounts)
    except BaseException:
        leave(Lodger(container, bundle), words)
        raise


def hosts_own(config: "dict[str, Any]") -> "frozenset[str]":
    """The namespaces that a configuration names by path and that are the host's, or that cannot be
    looked at: as if it had named none. (The network's is `attachment`'s to see.)"""
    named = judge.namespaces_of(config)
    return frozenset(
        kind
        for kind in ("pid", "user")
        if named.get(kind) and identity(named[kind]) in (None, identity(f"/proc/self/ns/{kind}"))
    )


def _dressed(sandbox: "dict[str, Any]", config: "dict[str, Any]", bundle: str) -> Change:
    rootfs = Rootfs(root_of(config, bundle))
    try:
        return dress(sandbox, config, rootfs, bundle)
    finally:
        rootfs.close()


def root_of(config: "dict[str, Any]", bundle: str) -> str:
    """The container's root directory.

    Raises:
        Refused: the configuration names none.
    """
    path = (config.get("root") or {}).get("path")
    if not path:
        raise Refused("its configuration names no root directory (root.path)")
    return os.path.join(bundle, path)


def read_container(path: str) -> "dict[str, Any]":
    """A container's configuration.

    Raises:
        Refused: it is none, or the runtime would read it otherwise.
        OSError: it cannot be read.
    """
    config = read_config(path)
    require_plain(config)
    return config


def read_config(path: str) -> "dict[str, Any]":
    """A JSON object from a file.

    Raises:
        Refused: no JSON object, or too long.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        return parse_object(file.read(MAX_CONFIG + 1), path)


def parse_object(raw: bytes, what: str) -> "dict[str, Any]":
    """A JSON object.

    Raises:
        Refused: it is none, or longer than MAX_CONFIG.
    """
    if len(raw) > MAX_CONFIG:
        raise Refused(f"{what}: longer than {MAX_CONFIG} bytes")
    try:
        found = light.loads(raw, unique)
    except (ValueError, RecursionError) as problem:
        raise Refused(f"{what}: no JSON: {problem}") from problem
    if not isinstance(found, dict):
        raise Refused(f"{what}: no JSON object")
    return found


def write_config(path: str, config: "dict[str, Any]") -> None:
    """Replace a configuration, whole or not at all; its mode and owner stay.

    Raises:
        OSError: it cannot be written.
    """
    facts = os.stat(path)
    aside = f"{path}.netmgr"
    with open(aside, "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), facts.st_mode & 0o7777)
        os.fchown(file.fileno(), facts.st_uid, facts.st_gid)
        file.write(light.dumps(config))
    os.replace(aside, path)


def self_command(module: str, python: str = sys.executable, home: str | None = None) -> list[str]:
    """A command line that runs a module of this directory without site directories.

    Args:
        home: where `netmgr_cli` is on another host, whose interpreter is `python`; None: here.
    """
    place = home or __file__.rpartition("/netmgr_cli/")[0]
    code = (
        f"import os, sys; sys.path.insert(0, {place!r}); "
        f"from netmgr_cli.shim.oci.{module} import main; os._exit(main(sys.argv[1:]))"
    )
    return [python if home else os.path.realpath(python), "-I", "-S", "-c", code]
