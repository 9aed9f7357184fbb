"""Where the vault's key comes from, and that it can be another one tomorrow."""

import asyncio
import ctypes
import os
import secrets
from pathlib import Path

import pytest

from netmgr.daemon.vault_desk import VaultDesk, reseal
from netmgr.errors import BadInput, HostFailed
from netmgr.keys.keyring import read_user_key
from netmgr.keys.source import open_vault
from netmgr.keys.vault import Key, Vault, parse_keys
from netmgr.secret import Secret
from netmgr.settings.values import KeySource, KeyStore, parse_key_source
from netmgr.store import Provider

OLD, NEW = Key.create(), Key.create()
PLACE = ("provider", "p", "K")


@pytest.mark.parametrize("text", ["file", "credential:netmgr.key", "keyring:netmgr:vault"])
def test_a_source_reads_as_it_is_written(text: str) -> None:
    assert str(parse_key_source(text)) == text


@pytest.mark.parametrize(
    "raw", ["", "File", "file:x", "credential", "credential:", "keyring:a b", "tpm:x", 7, None]
)
def test_what_is_no_source_is_refused(raw: object) -> None:
    with pytest.raises(ValueError, match="expected file, credential:NAME"):
        parse_key_source(raw)


def test_the_first_key_seals_and_all_open() -> None:
    old = Vault([OLD]).seal(Secret("s"), *PLACE)
    both = Vault([NEW, OLD])
    assert both.unseal(old, *PLACE) == Secret("s")
    assert both.seal(Secret("s"), *PLACE).key_id == NEW.id
    with pytest.raises(HostFailed, match=f"encrypted with key {OLD.id}"):
        Vault([NEW]).unseal(old, *PLACE)


@pytest.mark.parametrize(
    "text", ["", "\n", OLD.render() * 2, OLD.render() + "x", "netmgr-key-1 a b"]
)
def test_what_is_no_key_text_is_refused(text: str) -> None:
    with pytest.raises(HostFailed, match="here: "):
        parse_keys(text, "here")


def test_a_key_prints_its_name_alone() -> None:
    assert repr(OLD.key)[2:8] not in repr(OLD)


def test_a_credential_of_systemd(tmp_path: Path) -> None:
    source = KeySource(KeyStore.CREDENTIAL, "vault")
    file = tmp_path / "vault"
    file.write_text(NEW.render() + OLD.render())
    file.chmod(0o400)
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    found = open_vault(source, tmp_path / "no", environ, must_exist=False)
    assert [key.id for key in found.keys] == [NEW.id, OLD.id]
    assert not (tmp_path / "no").exists()
    file.chmod(0o444)
    with pytest.raises(HostFailed, match="lets others read the key"):
        open_vault(source, tmp_path / "no", environ, must_exist=False)
    with pytest.raises(HostFailed, match="LoadCredentialEncrypted=vault:FILE"):
        open_vault(source, tmp_path / "no", {}, must_exist=False)
    file.unlink()
    with pytest.raises(HostFailed, match="there is no credential"):
        open_vault(source, tmp_path / "no", environ, must_exist=True)


def test_a_key_of_the_kernel(tmp_path: Path) -> None:
    name = f"netmgr-test:{secrets.token_hex(4)}"
    source = KeySource(KeyStore.KEYRING, name)
    with pytest.raises(HostFailed, match="keyctl padd user"):
        open_vault(source, tmp_path / "no", {}, must_exist=False)
    number = _add_key(name, OLD.render().encode())
    try:
        assert read_user_key(name).decode() == OLD.render()
        assert open_vault(source, tmp_path / "no", {}, must_exist=False).key_id == OLD.id
    finally:
        _libc().syscall(_numbers()[1], 3, number)  # KEYCTL_REVOKE


def test_a_rotation_puts_everything_under_a_new_key(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            provider = Provider(name="p", type="openai", config={}, created=0, updated=0)
            core.store.providers.add(provider, {"K": core.vault.seal(Secret("s"), *PLACE)})
            desk, before = VaultDesk(core), core.vault.key_id
            shown = await desk.rotate()
            assert shown["key_id"] != before
            assert (shown["sealed"], shown["under_older_keys"], shown["older_keys"]) == (1, 0, [])
            assert before not in core.settings.key_path.read_text()
            assert os.stat(core.settings.key_path).st_mode & 0o777 == 0o600
        async with open_core() as core:  # a restart
            assert (
                core.vault.unseal(core.store.providers.credentials("p")["K"], *PLACE).reveal()
                == "s"
            )

    asyncio.run(main())


def test_a_rotation_that_was_cut_off_is_finished_at_the_next_start(open_core) -> None:
    async def main() -> None:
        async with open_core() as core:
            provider = Provider(name="p", type="openai", config={}, created=0, updated=0)
            core.store.providers.add(provider, {"K": core.vault.seal(Secret("s"), *PLACE)})
            path, old = core.settings.key_path, core.vault.keys[0]
            path.write_text(NEW.render() + old.render())
        async with open_core() as core:
            assert reseal(core) == 1
            assert core.store.providers.credentials("p")["K"].key_id == NEW.id
            assert reseal(core) == 0

    asyncio.run(main())


def test_a_key_that_others_give_is_changed_by_them(open_core) -> None:
    async def main() -> None:
        source = KeySource(KeyStore.KEYRING, "x")
        async with open_core(vault_key=source) as core:
            with pytest.raises(BadInput, match="above the old one"):
                await VaultDesk(core).rotate()

    asyncio.run(main())


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _numbers() -> tuple[int, int]:
    """add_key and keyctl."""
    return (248, 250) if os.uname().machine == "x86_64" else (217, 219)


def _add_key(name: str, payload: bytes) -> int:
    found = int(_libc().syscall(_numbers()[0], b"user", name.encode(), payload, len(payload), -4))
    if found < 0:
        code = ctypes.get_errno()
        pytest.skip(f"this machine lets nobody add a key: {os.strerror(code)}")
    return found
