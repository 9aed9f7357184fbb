"""The vault: what it opens, and every way in which it has to refuse."""

import os
from pathlib import Path

import pytest

from netmgr.errors import HostFailed
from netmgr.keys.vault import Sealed, Vault
from netmgr.secret import Secret


@pytest.fixture
def vault(tmp_path: Path) -> Vault:
    return Vault.open(tmp_path / "vault.key", must_exist=False)


def test_what_was_sealed_opens_in_its_place(vault: Vault) -> None:
    sealed = vault.seal(Secret("sk-1"), "provider", "p", "KEY")
    assert b"sk-1" not in sealed.blob
    assert vault.unseal(sealed, "provider", "p", "KEY") == Secret("sk-1")


@pytest.mark.parametrize("place", [("provider", "q", "KEY"), ("provider", "pKEY", ""), ()])
def test_it_opens_in_no_other_place(vault: Vault, place: tuple[str, ...]) -> None:
    sealed = vault.seal(Secret("sk-1"), "provider", "p", "KEY")
    with pytest.raises(HostFailed, match="damaged or not this one's"):
        vault.unseal(sealed, *place)


def test_every_changed_byte_is_noticed(vault: Vault) -> None:
    sealed = vault.seal(Secret("s"), "p")
    for index in range(len(sealed.blob)):
        changed = bytearray(sealed.blob)
        changed[index] ^= 1
        with pytest.raises(HostFailed):
            vault.unseal(Sealed(sealed.key_id, bytes(changed)), "p")
    with pytest.raises(HostFailed):
        vault.unseal(Sealed(sealed.key_id, b""), "p")


def test_the_same_secret_twice_looks_different(vault: Vault) -> None:
    assert vault.seal(Secret("s"), "p").blob != vault.seal(Secret("s"), "p").blob


def test_a_key_is_made_once_for_root_alone(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    previous = os.umask(0)
    try:
        first = Vault.open(path, must_exist=False)
    finally:
        os.umask(previous)
    assert path.stat().st_mode & 0o7777 == 0o600
    assert os.listdir(tmp_path) == ["vault.key"]
    assert Vault.open(path, must_exist=True).key_id == first.key_id


def test_a_lost_key_is_no_new_key(tmp_path: Path) -> None:
    with pytest.raises(HostFailed, match="the key is gone"):
        Vault.open(tmp_path / "vault.key", must_exist=True)
    assert not os.listdir(tmp_path)


def test_another_key_is_named(tmp_path: Path) -> None:
    one = Vault.open(tmp_path / "a", must_exist=False)
    two = Vault.open(tmp_path / "b", must_exist=False)
    with pytest.raises(HostFailed, match=f"{one.key_id}.*{two.key_id}"):
        two.unseal(one.seal(Secret("s"), "p"), "p")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660])
def test_a_readable_key_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "vault.key"
    Vault.open(path, must_exist=False)
    path.chmod(mode)
    with pytest.raises(HostFailed, match=f"mode {mode:04o}.*chmod 0600"):
        Vault.open(path, must_exist=True)


@pytest.mark.root
def test_a_key_of_another_user_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "vault.key"
    Vault.open(path, must_exist=False)
    os.chown(path, 12345, 12345)
    with pytest.raises(HostFailed, match="belongs to uid 12345"):
        Vault.open(path, must_exist=True)


def test_a_symlink_and_a_directory_are_refused(tmp_path: Path) -> None:
    Vault.open(tmp_path / "real", must_exist=False)
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "dir").mkdir(mode=0o700)
    with pytest.raises(HostFailed, match="cannot be read"):
        Vault.open(tmp_path / "link", must_exist=True)
    with pytest.raises(HostFailed, match="not a regular file"):
        Vault.open(tmp_path / "dir", must_exist=True)


@pytest.mark.parametrize(
    "text", ["", "netmgr-key-1 a", "netmgr-key-2 a " + "A" * 44, "netmgr-key-1 a !!", "x" * 9999]
)
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "vault.key"
    path.write_text(text)
    path.chmod(0o600)
    with pytest.raises(HostFailed, match="not a key file"):
        Vault.open(path, must_exist=False)


def test_no_error_tells_a_secret(vault: Vault) -> None:
    sealed = vault.seal(Secret("sk-very-secret"), "p")
    with pytest.raises(HostFailed) as caught:
        vault.unseal(sealed, "q")
    assert "sk-very" not in f"{caught.value!r} {caught.value.details} {caught.value.__cause__!r}"
