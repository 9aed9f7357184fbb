"""Files and stored blobs: whatever they hold, nothing but our own error comes out."""

import json
import sqlite3
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml
from hypothesis import given
from hypothesis import strategies as st

from netmgr.errors import BadInput, HostFailed
from netmgr.journal import Filter
from netmgr.journal.filter import target_of
from netmgr.journal.repeats import Repeats
from netmgr.journal.wire import parse_record
from netmgr.keys.vault import Key, Sealed, Vault
from netmgr.model import Record
from netmgr.reasons import Kind, Reason, Verdict
from netmgr.secret import Secret
from netmgr.settings.file import parse_resolv_conf, parse_settings
from netmgr.settings.table import Settings, settings_keys

VAULT = Vault([Key("k", bytes(32))])
scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["10.0.0.0/8", "::1/128", "9.9.9.9:53", "[::1]:5", "[::1", "a:b", "/a"]),
)
values = st.one_of(scalars, st.lists(scalars, max_size=3), st.dictionaries(scalars, scalars))


@given(st.text(max_size=300))
def test_any_text_is_settings_or_bad_input(text: str) -> None:
    with suppress(BadInput):
        parse_settings(text, "f.yaml")


@given(st.dictionaries(st.sampled_from(list(settings_keys())), values, max_size=4))
def test_any_value_is_accepted_or_told_with_its_key(entries: dict[str, object]) -> None:
    try:
        parsed = parse_settings(yaml.safe_dump(entries, allow_unicode=True), "f.yaml")
    except BadInput as problem:
        for line in problem.message.splitlines():
            assert line.startswith("f.yaml:")
        return
    with suppress(BadInput):  # two pools may still overlap
        Settings(**parsed)


@given(st.text(max_size=300))
def test_any_resolv_conf_gives_servers(text: str) -> None:
    assert len(parse_resolv_conf(text)) <= 8


@given(st.binary(max_size=100), st.text(max_size=10))
def test_any_blob_is_refused(blob: bytes, place: str) -> None:
    with suppress(HostFailed):
        VAULT.unseal(Sealed("k", blob), place)
        raise AssertionError("opened what was never sealed")


@given(st.text(max_size=200).filter(lambda text: text.isascii()), st.text(max_size=9))
def test_any_secret_comes_back(text: str, place: str) -> None:
    assert VAULT.unseal(VAULT.seal(Secret(text), place), place).reveal() == text


@given(st.binary(max_size=200))
def test_any_key_file_is_a_key_or_refused(data: bytes) -> None:
    with TemporaryDirectory() as directory:
        path = Path(directory, "key")
        path.write_bytes(data)
        path.chmod(0o600)
        with suppress(HostFailed):
            Vault.open(path, must_exist=True)


leaves = st.one_of(scalars, st.lists(scalars, max_size=2))
parts = st.dictionaries(st.sampled_from(["name", "ip", "method", "exe", "ancestors"]), leaves)
wild_records = st.dictionaries(
    st.sampled_from(["destination", "http", "process", "bytes_in", "duration_ms", "sandbox", "x"]),
    st.one_of(leaves, parts),
)


@given(st.lists(wild_records, max_size=5))
def test_what_a_hijacked_worker_tells_is_refused_or_can_be_kept(told: list[dict[str, Any]]) -> None:
    honest = Record(0.0, "a", Kind.DNS, Verdict.DENIED, Reason.RAW_IP).to_wire()
    repeats = Repeats(10.0)
    for fields in told:
        body = json.loads(json.dumps(honest | fields))
        try:
            record = parse_record(body)
        except BadInput:
            continue
        repeats.add(record, 0.0)
        assert isinstance(target_of(record), str)
    for record in repeats.rest():
        json.dumps(record, allow_nan=False)


letters = st.text(alphabet="abA.*?[]^!-\n", max_size=6)


@given(letters, letters)
def test_a_name_is_matched_alike_live_and_in_the_file(pattern: str, name: str) -> None:
    record = {
        "sandbox": None,
        "verdict": "denied",
        "kind": "dns",
        "destination": {"name": name or None},
    }
    wanted = Filter(name=pattern)
    where, arguments = wanted.where()
    connection = sqlite3.connect(":memory:")
    sql = f"SELECT {where} FROM (SELECT ? AS target)"
    (stored,) = connection.execute(sql, [*arguments, target_of(record)]).fetchone()
    connection.close()
    assert wanted.matches(record, 0.0) is bool(stored)
