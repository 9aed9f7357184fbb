"""Owns: the files that a sandbox gets to find names and to trust its authority.

In `<run_dir>/sandboxes/<name>/`: resolv.conf, hosts, nsswitch.conf, ca.pem, ca-bundle.pem, env;
where they were asked for, cacerts.p12 and nssdb. Knows nothing of how they come into a container.

The merged bundle (the distribution's authorities and the sandbox's) is 220 KiB. In tmpfs, where the
run directory is, it would pin that much memory per sandbox, and a file cannot include another. So
it lies in the state directory, on disk, where pages are reclaimed under pressure and file systems
that can (btrfs, xfs) share the system part's blocks; ca-bundle.pem is a link to it. Mounting the
file works as with any other; whoever mounts the directory whole mounts the bundle besides. The same
holds for the other stores.
"""

import os
import shutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Final

import certifi

from netmgr.addresses import fixed_addresses
from netmgr.errors import HostFailed
from netmgr.keys import stores
from netmgr.keys.injection import TrustPaths, render_env, trust_env
from netmgr.settings.table import GATEWAY

DISTRIBUTION_BUNDLES: Final = (
    Path("/etc/ssl/certs/ca-certificates.crt"),  # Debian, Ubuntu, Arch, Alpine
    Path("/etc/pki/tls/certs/ca-bundle.crt"),  # Fedora, RHEL
    Path("/etc/ssl/ca-bundle.pem"),  # SUSE
    Path("/etc/ssl/cert.pem"),  # Alpine without ca-certificates, BSD layouts
)
MAX_BUNDLE: Final = 8 * 1024 * 1024  # the largest in the field is under 1 MiB
BLOCK: Final = 4096  # blocks are shared only where they begin at a multiple of this
JAVA_STORE: Final = "cacerts.p12"
NSS_STORE: Final = "nssdb"
FILE_MODE: Final = 0o644
DIRECTORY_MODE: Final = 0o755


def system_bundle(roots: Path | None = None) -> Path:
    """The PEM file of the authorities that this host trusts.

    Args:
        roots: the setting ca_roots; None means the distribution's file, else certifi's.
    """
    if roots is not None:
        return roots
    return next((path for path in DISTRIBUTION_BUNDLES if path.is_file()), Path(certifi.where()))


class TrustFiles:
    """Writes and removes the files of sandboxes.

    Args:
        run_dir: parent of `sandboxes/<name>/`. It exists.
        state_dir: parent of `trust/<name>.pem`, the merged bundles. It exists.
        system: the shared part of the bundles; read once, here.
        name_pool: gives the two fixed names their addresses.

    Raises:
        HostFailed: the system's bundle cannot be read or holds no certificate, or a directory
            cannot be made.
    """

    def __init__(
        self, run_dir: Path, state_dir: Path, system: Path, name_pool: IPv4Network
    ) -> None:
        self._sandboxes = run_dir / "sandboxes"
        self._bundles = state_dir / "trust"
        self._constant = {
            "resolv.conf": f"nameserver {GATEWAY}\n",
            "hosts": render_hosts(fixed_addresses(name_pool)),
            "nsswitch.conf": "hosts: files dns\n",
        }
        authorities = _read_bundle(system)
        self._system_size = len(authorities)
        try:
            for directory in (self._sandboxes, self._bundles):
                _make_directory(directory)
            # A copy of our own: on the same file system as the bundles, and nobody edits it.
            seed = self._bundles / ".system"
            _write(seed, authorities)
            self._system = os.open(seed, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as problem:
            raise HostFailed(f"{self._bundles}: cannot be written: {problem}") from problem

    def close(self) -> None:
        """Give the descriptor of the system's part back."""
        os.close(self._system)

    def directory(self, name: str) -> Path:
        """Where a sandbox's files stand."""
        return self._sandboxes / name

    def paths(self, name: str) -> TrustPaths:
        """The certificates of a sandbox, as the host sees them."""
        directory = self.directory(name)
        java, nss = directory / JAVA_STORE, directory / NSS_STORE
        return TrustPaths(
            directory / "ca.pem",
            directory / "ca-bundle.pem",
            java if java.is_symlink() else None,
            nss if nss.is_symlink() else None,
        )

    def write(self, name: str, ca_pem: str) -> Path:
        """Write a sandbox's files; their directory is returned.

        Where it stands already, something may read them: each is replaced whole or not at all. A
        new directory nobody knows yet, so files are written in place: at a birth that is half the
        work.

        Raises:
            HostFailed: the disk is full, or a directory is missing or not ours.
        """
        directory = self.directory(name)
        paths = self.paths(name)
        files = self._constant | {"ca.pem": ca_pem, "env": render_env(trust_env(paths))}
        bundle = self._bundles / f"{name}.pem"
        try:
            write = _write_new if _make_directory(directory) else _write
            for file, text in files.items():
                write(directory / file, text.encode())
            self._write_bundle(bundle, ca_pem.encode())
            _link(directory / "ca-bundle.pem", bundle)
        except OSError as problem:
            raise HostFailed(f"{directory}: cannot be written: {problem}") from problem
        if made := _kinds(paths):  # by an earlier daemon, of what may be another authority
            self.add_stores(name, made, anew=True)
        return directory

    def add_stores(self, name: str, kinds: Collection[str], *, anew: bool = False) -> TrustPaths:
        """Make further stores of a sandbox; one that is there stays, unless `anew`.

        Args:
            kinds: of netmgr.keys.stores.STORES.

        Raises:
            HostFailed: the disk is full, or certutil is missing or failed.
        """
        wanted = set(kinds) - (set() if anew else _kinds(self.paths(name)))
        if not wanted:
            return self.paths(name)
        directory, ca = self.directory(name), self.paths(name).ca
        try:
            if stores.JAVA in wanted:
                system = os.pread(self._system, self._system_size, 0)
                store = self._bundles / f"{name}.p12"
                _write(store, stores.java_truststore(ca.read_text(), system))
                _link(directory / JAVA_STORE, store)
            if stores.NSS in wanted:
                database = self._bundles / f"{name}.nssdb"
                stores.make_nss_database(database, ca)
                _link(directory / NSS_STORE, database)
            paths = self.paths(name)
            _write(directory / "env", render_env(trust_env(paths)).encode())
        except OSError as problem:
            raise HostFailed(f"{directory}: cannot be written: {problem}") from problem
        return paths

    def remove(self, name: str) -> None:
        """Remove a sandbox's files; what is not there is fine.

        Raises:
            HostFailed: something could not be removed.
        """
        directory = self.directory(name)
        try:
            for suffix in ("pem", "p12"):
                (self._bundles / f"{name}.{suffix}").unlink(missing_ok=True)
            for tree in (self._bundles / f"{name}.nssdb", directory):
                with suppress(FileNotFoundError):
                    shutil.rmtree(tree)
        except OSError as problem:
            raise HostFailed(f"{directory}: cannot be removed: {problem}") from problem

    def names(self) -> frozenset[str]:
        """Of the sandboxes that have files here: after a crash, perhaps of some that are gone."""
        directories = {path.name for path in self._sandboxes.iterdir()}
        bundles = {path.stem for path in self._bundles.glob("[!.]*")}
        return frozenset(directories | bundles)

    def _write_bundle(self, path: Path, ca_pem: bytes) -> None:
        """The sandbox's authority, filled up to a whole block, and the system's after it."""
        own = ca_pem + b"\n" * (-len(ca_pem) % BLOCK)
        with _whole_file(path) as fd:
            os.pwrite(fd, own, 0)
            done = 0
            while done < self._system_size:
                done += os.copy_file_range(
                    self._system, fd, self._system_size - done, done, len(own) + done
                )


def render_hosts(addresses: Mapping[str, IPv4Address]) -> str:
    """hosts(5): the loopback's names, then the given ones."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    lines += [f"{ip} {name}" for name, ip in addresses.items()]
    return "\n".join(lines) + "\n"


def _kinds(paths: TrustPaths) -> set[str]:
    """Which of STORES there are."""
    found = {stores.JAVA: paths.java, stores.NSS: paths.nss}
    return {kind for kind, path in found.items() if path is not None}


def _read_bundle(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BUNDLE + 1)
    except OSError as problem:
        raise HostFailed(f"{path}: cannot be read: {problem.strerror}") from problem
    if len(data) > MAX_BUNDLE:
        raise HostFailed(f"{path}: longer than {MAX_BUNDLE} bytes, which no bundle of roots is")
    if b"-----BEGIN CERTIFICATE-----" not in data:
        raise HostFailed(f"{path}: holds no certificate in PEM")
    return data


@contextmanager
def _whole_file(path: Path) -> Iterator[int]:
    """A descriptor to write; the file appears under its name when the block ends well."""
    aside = path.with_name(f".{path.name}.new")
    fd = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    try:
        try:
            os.fchmod(fd, FILE_MODE)  # whatever the umask
            yield fd
        finally:
            os.close(fd)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def _write(path: Path, data: bytes) -> None:
    with _whole_file(path) as fd:
        _write_all(fd, data)


def _write_new(path: Path, data: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
    try:
        os.fchmod(fd, FILE_MODE)  # whatever the umask
        _write_all(fd, data)
    finally:
        os.close(fd)


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _link(path: Path, target: Path) -> None:
    with suppress(FileExistsError):
        path.symlink_to(target)
        return
    aside = path.with_name(f".{path.name}.new")
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    aside.replace(path)


def _make_directory(path: Path) -> bool:
    """Whether it is new."""
    try:
        path.mkdir()
    except FileExistsError:
        new = False
    else:
        new = True
    path.chmod(DIRECTORY_MODE)  # whatever the umask
    return new
