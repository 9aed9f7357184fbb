"""What engines and image authors write is read without surprises: refused, or taken as it is."""

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from netmgr_cli.shim.oci.command import VALUES, parse_command
from netmgr_cli.shim.oci.container import parse_object
from netmgr_cli.shim.oci.dress import merged_hosts, missing_authorities
from netmgr_cli.shim.oci.edit import Change, edit, env_of, unedited
from netmgr_cli.shim.oci.words import SELECTABLE, Refused, Words, take_words, wish_of

TEXT = st.text(max_size=30)
OPTION = st.sampled_from(
    ["--root", "--log", "-b", "--bundle", "--cap", "--process", "-t", "create"]
)
ARGUMENT = st.one_of(OPTION, st.builds("{}={}".format, OPTION, TEXT), TEXT)
KEY = st.sampled_from(["netmgr.policy", "io.netmgr.policy", "netmgr.labels", "netmgr.x", "other"])


@given(st.lists(ARGUMENT, max_size=8))
def test_a_command_line_is_read_or_refused(words: list[str]) -> None:
    try:
        command = parse_command(words)
    except Refused:
        return
    if command.verb in VALUES:
        assert command.container in words
    # The verb is the first word that is neither an option nor an option's value.
    assert not command.verb or not command.verb.startswith("-")


@given(st.lists(st.one_of(ARGUMENT, st.builds("--netmgr-{}".format, TEXT)), max_size=8))
def test_our_words_never_reach_the_real_runtime(words: list[str]) -> None:
    try:
        _, rest = take_words(words)
    except Refused:
        return
    assert rest == [word for word in words if not word.startswith("--netmgr-")]


@given(st.dictionaries(st.one_of(KEY, TEXT), st.one_of(TEXT, st.none(), st.integers()), max_size=5))
def test_annotations_are_read_or_refused(annotations: dict[str, Any]) -> None:
    with contextlib.suppress(Refused):
        assert wish_of(Words(), annotations).policy in (None, "default")
    words, _ = take_words([f"--netmgr-selectable={kind}=*" for kind in SELECTABLE])
    try:
        wish = wish_of(words, annotations)
    except Refused:
        return
    assert wish.policy is None or "/" not in wish.policy
    assert not {"container", "bundle", "policy"} & wish.labels.keys()


@given(st.binary(max_size=60))
def test_a_state_is_an_object_or_refused(raw: bytes) -> None:
    with contextlib.suppress(Refused):
        assert isinstance(parse_object(raw, "stdin"), dict)


NAMES = st.text(alphabet="ABC_", min_size=1, max_size=3)
PATHS = st.sampled_from(["/a", "/b", "/etc/hosts"])


@given(
    mounts=st.lists(PATHS, max_size=4),
    env=st.dictionaries(NAMES, TEXT, max_size=4),
    ours=st.dictionaries(PATHS, TEXT, max_size=3),
    more=st.dictionaries(NAMES, TEXT, max_size=3),
)
def test_an_edit_adds_what_it_says_and_twice_is_once(
    mounts: list[str], env: dict[str, str], ours: dict[str, str], more: dict[str, str]
) -> None:
    config = {
        "mounts": [{"destination": place, "type": "bind"} for place in mounts],
        "process": {"env": [f"{name}={value}" for name, value in env.items()]},
        "linux": {"namespaces": [{"type": "network"}]},
    }
    change = Change()
    change.mounts, change.env, change.netns = ours, more, "/run/netns/x"
    change.hooks = {"poststop": ["python3", "-m", "netmgr_cli.shim.oci.hook"]}
    edited = edit(config, change)
    assert env_of(edited) == more | env
    assert {m["destination"] for m in edited["mounts"]} == {*mounts, *ours}
    again = json.loads(json.dumps(edited))
    assert edit(unedited(again), change) == edited


@given(ours=st.binary(max_size=80), theirs=st.binary(max_size=80))
def test_hosts_keep_our_lines_first(ours: bytes, theirs: bytes) -> None:
    merged = merged_hosts(ours, theirs, "box", "10.77.0.1")
    assert merged.splitlines()[: len(ours.splitlines())] == ours.splitlines()


@given(theirs=st.binary(max_size=200), ours=st.binary(max_size=200))
def test_bundles_of_any_bytes_are_read(theirs: bytes, ours: bytes) -> None:
    assert missing_authorities(theirs, ours + missing_authorities(theirs, ours)) == b""
