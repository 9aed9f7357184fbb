"""A container's configuration with what a sandbox adds."""

import json
from typing import Any

from netmgr_cli.shim.oci.container import self_command
from netmgr_cli.shim.oci.edit import NOTE, Change, edit, env_of, unedited

CONFIG: dict[str, Any] = {
    "ociVersion": "1.0.2",
    "process": {"args": ["sh"], "env": ["PATH=/bin", "SSL_CERT_FILE=/own.pem"]},
    "mounts": [
        {"destination": "/proc", "type": "proc"},
        {"destination": "/etc/resolv.conf/", "type": "bind", "source": "/theirs"},
    ],
    "hooks": {
        "prestart": [{"path": "/proc/9/exe", "args": ["libnetwork-setkey", "-exec-root=/run"]}],
        "poststop": [{"path": "/theirs", "args": ["theirs"]}],
    },
    "linux": {
        "namespaces": [{"type": "pid"}, {"type": "network"}],
        "readonlyPaths": ["/proc/bus"],
    },
    "annotations": {"a": "b"},
}


def change() -> Change:
    made = Change()
    made.mounts = {"/etc/resolv.conf": "/run/r", "/etc/hosts": "/run/h"}
    made.env = {"SSL_CERT_FILE": "/ours.pem", "NODE_EXTRA_CA_CERTS": "/ca.pem"}
    made.netns = "/run/netns/x"
    made.hooks = {"poststop": self_command("hook")}
    return made


def test_what_the_sandbox_needs_is_there_and_nothing_else_changed() -> None:
    before = json.dumps(CONFIG)
    edited = edit(CONFIG, change())
    assert json.dumps(CONFIG) == before
    assert [m["destination"] for m in edited["mounts"]] == [
        "/proc",
        "/etc/resolv.conf",
        "/etc/hosts",
    ]
    assert "ro" in edited["mounts"][1]["options"]
    assert edited["linux"]["namespaces"] == [
        {"type": "pid"},
        {"type": "network", "path": "/run/netns/x"},
    ]
    assert edited["linux"]["readonlyPaths"] == ["/proc/bus", "/proc/sys"]
    assert edited["annotations"]["a"] == "b"
    assert edited["process"]["args"] == ["sh"]


def test_the_containers_own_variables_stay() -> None:
    env = env_of(edit(CONFIG, change()))
    assert env["SSL_CERT_FILE"] == "/own.pem"
    assert env["NODE_EXTRA_CA_CERTS"] == "/ca.pem"


def test_no_second_door_is_hooked_in() -> None:
    hooks = edit(CONFIG, change())["hooks"]
    assert list(hooks) == ["poststop"]
    assert hooks["poststop"][0]["path"] == "/theirs"
    assert all(hook["path"].startswith("/") for hook in hooks["poststop"])


def test_twice_is_once() -> None:
    once = edit(CONFIG, change())
    assert edit(unedited(once), change()) == once


def test_what_was_added_can_be_taken_away() -> None:
    before = CONFIG | {"hooks": {}, "mounts": CONFIG["mounts"][:1]}
    before["linux"] = before["linux"] | {"readonlyPaths": ["/proc/sys"]}
    assert unedited(edit(before, change())) == before
    assert unedited(before) == before


def test_a_namespace_that_is_attached_stays_as_it_is() -> None:
    made = change()
    made.netns = None
    assert edit(CONFIG, made)["linux"]["namespaces"] == CONFIG["linux"]["namespaces"]


def test_a_configuration_with_nothing_in_it_gets_all() -> None:
    edited = edit({}, change())
    assert edited["linux"]["namespaces"] == [{"type": "network", "path": "/run/netns/x"}]
    assert "process" not in edited


def test_a_note_that_an_image_brought_is_no_edit_of_ours() -> None:
    note = json.dumps({"mounts": ["/secret"], "env": ["PATH"], "netns": True})
    config = {
        "annotations": {NOTE: note},
        "mounts": [{"destination": "/secret", "type": "tmpfs"}],
        "process": {"env": ["PATH=/bin"]},
        "linux": {"namespaces": [{"type": "network", "path": "/run/netns/x"}]},
    }
    assert unedited(config) == config | {"annotations": {}}
