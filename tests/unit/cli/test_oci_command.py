"""Command lines of an OCI runtime, and the program that stands before it."""

import os
import subprocess
from pathlib import Path

import pytest

from netmgr_cli.oci_program import render_runc
from netmgr_cli.shim.oci.command import parse_command
from netmgr_cli.shim.oci.runc import log_line
from netmgr_cli.shim.oci.words import Refused


def words_of(line: str) -> list[str]:
    return line.split()


def test_create_as_engines_call_it() -> None:
    general = "--root /r --log /l.json --log-format json"
    verb = "create --bundle /b --pid-file /p --no-pivot id1"
    containerd = parse_command(words_of(f"{general} {verb}"))
    assert (containerd.verb, containerd.container) == ("create", "id1")
    assert containerd.options == {"bundle": "/b"}
    assert (containerd.log, containerd.log_format) == ("/l.json", "json")
    assert containerd.general == words_of(general)
    conmon = parse_command(words_of("--log=/l create -b=/b --pid-file=/p --console-socket /c id2"))
    assert (conmon.container, conmon.options, conmon.log) == ("id2", {"bundle": "/b"}, "/l")


def test_run_without_a_bundle_and_execs() -> None:
    assert parse_command(["run", "box"]).options == {}
    line = "exec -t --process /p.json --cap net_admin -e A=B box sh -c run"
    found = parse_command(words_of(line))
    assert (found.container, found.options) == ("box", {"process": "/p.json"})
    assert found.capabilities == ["NET_ADMIN"]
    assert parse_command(["--version"]).verb == ""
    assert parse_command(["state", "run"]).verb == "state"


@pytest.mark.parametrize("words", [["create"], ["run", "-b", "/b"], ["exec", "-t"]])
def test_no_container_is_refused(words: list[str]) -> None:
    with pytest.raises(Refused, match="which container"):
        parse_command(words)


def test_a_line_of_the_log_is_one_line() -> None:
    for form in ("json", "text"):
        assert log_line(form, 'a "quoted"\nword').count("\n") == 1


def program(directory: Path, name: str) -> Path:
    """A program that says its name and its arguments."""
    path = directory / name
    path.write_text(f'#!/bin/sh\nprintf "%s\\n" {name} "$@"\n')
    path.chmod(0o755)
    return path


@pytest.mark.parametrize(
    ("arguments", "reached"),
    [
        (["state", "box"], ["runtime", "state", "box"]),
        (["--netmgr-policy=a", "--root", "/a b", "kill", "box"],
         ["runtime", "--root", "/a b", "kill", "box"]),
        (["--root", "/r", "create", "box"], ["wrapper", "-w", "--root", "/r", "create", "box"]),
        (["start", "run"], ["wrapper", "-w", "start", "run"]),
        (["--netmgr-runtime=OTHER", "delete", ""], ["other", "delete", ""]),
        ([], ["runtime"]),
    ],
)  # fmt: skip
def test_what_makes_no_process_goes_straight_to_the_runtime(
    tmp_path: Path, arguments: list[str], reached: list[str]
) -> None:
    runtime, wrapper, other = (program(tmp_path, n) for n in ("runtime", "wrapper", "other"))
    script = tmp_path / "netmgr-runc"
    script.write_text(render_runc([str(wrapper)], ["-w"], str(runtime)))
    script.chmod(0o755)
    given = [argument.replace("OTHER", str(other)) for argument in arguments]
    done = subprocess.run(
        [script, *given],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
        env=dict(os.environ),
    )
    assert done.stdout.split("\n")[:-1] == reached
