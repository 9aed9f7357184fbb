"""Owns: giving the vault another key while everything goes on.

What is stored is put under the new key in one transaction; until that is through, the key file has
both. Knows nothing of what is encrypted.
"""

from typing import Any

from netmgr.daemon.core import Core
from netmgr.errors import BadInput
from netmgr.keys.key_file import replace_key_file
from netmgr.keys.vault import Key, Vault
from netmgr.reasons import Kind
from netmgr.settings.values import KeyStore

JsonObject = dict[str, Any]


class VaultDesk:
    """Answers /v1/vault."""

    def __init__(self, core: Core) -> None:
        self._core = core

    async def status(self) -> JsonObject:
        """Where the key comes from, which it is, and how much is under it."""
        core, key_id = self._core, self._core.vault.key_id
        return {
            "source": str(core.settings.vault_key),
            "key_id": key_id,
            "older_keys": [key.id for key in core.vault.keys[1:]],
            "sealed": await core.on_store(core.store.sealed.count),
            "under_older_keys": await core.on_store(lambda: core.store.sealed.count(but=key_id)),
        }

    async def rotate(self) -> JsonObject:
        """Make a new key, put everything under it, forget the old one.

        Raises:
            BadInput: the key does not come from a file; whoever gives it has to change it.
            HostFailed: the file cannot be written. What is stored can be opened all the same.
        """
        core = self._core
        if core.settings.vault_key.kind is not KeyStore.FILE:
            raise BadInput(
                f"the key comes from {core.settings.vault_key}: put a line with a new key above "
                "the old one there, restart the daemon, then remove the old line"
            )
        async with core.change():
            path = core.settings.key_path
            both = (Key.create(), *core.vault.keys)
            await core.on_store(replace_key_file, path, "".join(key.render() for key in both))
            core.vault = Vault(both)
            await core.on_store(reseal, core)
            await core.on_store(replace_key_file, path, both[0].render())
            core.vault = Vault(both[:1])
        core.record(Kind.CONFIG, "the key of what is encrypted at rest was changed")
        return await self.status()


def reseal(core: Core) -> int:
    """Put everything that is stored under the current key, on the store's thread.

    Returns:
        how many values were under an older one.

    Raises:
        HostFailed: one cannot be opened; none was changed.
    """
    vault = core.vault
    return core.store.sealed.reseal(
        vault.key_id, lambda sealed, place: vault.seal(vault.unseal(sealed, *place), *place)
    )
