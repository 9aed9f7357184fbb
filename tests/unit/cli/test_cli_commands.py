"""What each command asks of the daemon, and what it shows."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from netmgr.control import schema
from netmgr.errors import Conflict, NotFound

Netmgr = Callable[..., Any]

# Body of each request that a command makes -> the daemon's own schema of it.
BODIES: dict[str, tuple[list[str], Any]] = {
    "create": (["sandbox", "create", "demo", "--allow", "a.example", "--label", "k=v"],
               schema.CreateSandbox),
    "attach": (["sandbox", "create", "demo", "--netns", "/run/netns/x"], schema.CreateSandbox),
    "attach pid": (["sandbox", "create", "demo", "--pid", "7"], schema.CreateSandbox),
    "stores": (["sandbox", "create", "demo", "--trust-store", "java"], schema.CreateSandbox),
    "gc": (["sandbox", "gc", "--keep", "a", "b"], schema.Keep),
    "gc by": (["sandbox", "gc", "--keep", "a/1", "--by", "pod", "--label", "k=v", "--tenant", "t"],
              schema.Keep),
    "trust": (["trust", "stores", "demo", "java", "nss"], schema.AddTrustStores),
    "policy set": (["policy", "set", "demo", "POLICY", "--if-revision", "3"], schema.SetPolicy),
    "global": (["policy", "set", "--global", "POLICY"], schema.SetPolicy),
    "update": (["policy", "update", "demo", "--add-endpoint", "a:1", "--dry-run"],
               schema.UpdatePolicy),
    "rollback": (["policy", "rollback", "demo", "2"], schema.RollBack),
    "explain": (["policy", "explain", "demo", "a:1", "--method", "POST"], schema.Explain),
    "provider": (["provider", "create", "--name", "n", "--type", "t", "--credential", "K=V"],
                 schema.CreateProvider),
    "provider update": (["provider", "update", "nim", "--config", "A=B"], schema.UpdateProvider),
    "inference set": (["inference", "set", "--provider", "p", "--model", "m", "--timeout", "5"],
                      schema.SetInference),
    "inference update": (["inference", "update", "--model", "m"], schema.UpdateInference),
    "inference test": (["inference", "test", "--label", "k=v"], schema.TestInference),
    "limits": (["inference", "limit", "set", "--tenant", "t", "--money-per-day", "2.5"],
               schema.SetLimits),
    "prices": (["inference", "price", "set", "POLICY"], schema.PolicyText),
}  # fmt: skip


@pytest.mark.parametrize("case", BODIES)
def test_each_request_fits_the_daemons_schema(
    case: str, netmgr: Netmgr, daemon: Any, policy_file: Path
) -> None:
    words, kind = BODIES[case]
    netmgr(*(str(policy_file) if word == "POLICY" else word for word in words))
    kind.model_validate(daemon.last[3])


READS = [
    ["sandbox", "list"], ["sandbox", "show", "demo"], ["sandbox", "check", "demo"], ["hub", "show"],
    ["status"], ["version"], ["provider", "list"], ["provider", "get", "nim"], ["doctor"],
    ["provider", "types"], ["inference", "get"], ["policy", "history", "demo"],
    ["policy", "get", "demo"], ["inference", "limit", "show"], ["inference", "price", "get"],
    ["inference", "usage"], ["trust", "stores", "demo"],
]  # fmt: skip


@pytest.mark.parametrize("words", READS, ids=" ".join)
def test_everything_that_reads_speaks_json_yaml_and_tables(
    words: list[str], netmgr: Netmgr, monkeypatch: pytest.MonkeyPatch
) -> None:
    if words == ["doctor"]:
        monkeypatch.setattr("netmgr_cli.trial.try_hub", dict)  # tests/netns tries it in earnest
    found = netmgr(*words, "-o", "json").json
    assert yaml.safe_load(netmgr(*words, "-o", "yaml").out).keys() == found.keys()
    table = netmgr(*words).out
    assert table
    assert "\x1b" not in table
    assert all(len(line) <= 80 and line == line.rstrip() for line in table.splitlines())


# -- sandboxes -----------------------------------------------------------------------------------


def test_sandbox_list(netmgr: Netmgr) -> None:
    head, row = netmgr("sandbox", "list").out.splitlines()
    assert head.split() == ["NAME", "STATE", "ADDRESS", "POLICY", "TENANT", "AGE"]
    assert row.split()[:5] == ["demo", "ready", "10.77.0.2", "3", "-"]


def test_no_sandboxes_is_said_on_stderr(netmgr: Netmgr, daemon: Any) -> None:
    daemon.answers["GET /v1/sandboxes"] = {"sandboxes": []}
    done = netmgr("sandbox", "list")
    assert (done.status, done.out, done.err) == (0, "", "no sandboxes\n")


def test_show_has_the_kernels_part(netmgr: Netmgr) -> None:
    out = netmgr("sandbox", "show", "demo").out
    assert "kernel" in out
    assert "DPORT" in out


def test_create_reads_the_policy_here(netmgr: Netmgr, daemon: Any, policy_file: Path) -> None:
    assert netmgr("sandbox", "create", "demo", "--policy", str(policy_file)).status == 0
    sent = daemon.last[3]["policy"]
    assert sent == {"text": policy_file.read_text(), "source": str(policy_file)}


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--policy", "/no/such"], "/no/such: No such file"),
        (["--label", "k"], "expected KEY=VALUE"),
        (["--label", "k=1", "--label", "k=2"], "given twice"),
        (["--netns", "/x", "--pid", "1"], "give one of them"),
    ],
)
def test_bad_words_ask_nothing(words: list[str], hint: str, netmgr: Netmgr, daemon: Any) -> None:
    done = netmgr("sandbox", "create", "demo", *words)
    assert done.status == 2
    assert hint in done.err
    assert daemon.asked == []


def test_a_large_policy_is_not_sent(netmgr: Netmgr, daemon: Any, tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(b"x" * (1024 * 1024 + 1))
    assert netmgr("sandbox", "create", "demo", "--policy", str(path)).status == 2
    path.write_bytes(b"\xff")
    assert "no UTF-8 at byte 0" in netmgr("sandbox", "create", "demo", "--policy", str(path)).err
    assert daemon.asked == []


def test_a_plan_is_printed_line_by_line(netmgr: Netmgr, daemon: Any) -> None:
    daemon.answers["POST /v1/sandboxes"] = {"plan": ["make namespace x", "link up"], "env": {}}
    done = netmgr("sandbox", "create", "demo", "--dry-run")
    assert done.out == "make namespace x\nlink up\n"
    schema.CreateSandbox.model_validate(daemon.last[3])
    assert daemon.last[3]["dry_run"] is True


def test_check_that_finds_something(netmgr: Netmgr, daemon: Any) -> None:
    difference = {"what": "link nm1", "expected": "up", "found": "down", "remedy": "ip link set"}
    daemon.answers["GET /v1/sandboxes/demo/check"] = {"ok": False, "differences": [difference]}
    done = netmgr("sandbox", "check", "demo")
    assert done.status == 1
    assert "link nm1" in done.out
    assert "remedy" in done.out


def test_delete_tries_every_name(netmgr: Netmgr, daemon: Any) -> None:
    done = netmgr("sandbox", "delete", "none", "demo")
    assert done.status == 3
    assert [asked[1] for asked in daemon.asked] == ["/v1/sandboxes/none", "/v1/sandboxes/demo"]
    assert "demo deleted" in done.err


def test_delete_all(netmgr: Netmgr, daemon: Any) -> None:
    assert netmgr("sandbox", "delete", "--all").status == 0
    assert daemon.last[:2] == ("DELETE", "/v1/sandboxes")
    assert netmgr("sandbox", "delete").status == 2
    assert netmgr("sandbox", "delete", "--all", "demo").status == 2


def test_gc_without_names_is_refused(netmgr: Netmgr, daemon: Any) -> None:
    assert netmgr("sandbox", "gc").status == 2
    assert daemon.asked == []


def test_a_container_that_went_meanwhile_is_nothing_to_collect(netmgr: Netmgr, daemon: Any) -> None:
    """Its engine and the collector come to it at the same time."""
    (box,) = daemon.answers["GET /v1/sandboxes"]["sandboxes"]
    left = [box | {"name": name, "labels": {"container": name}} for name in ("gone", "demo")]
    daemon.answers["GET /v1/sandboxes"] = {"sandboxes": left}
    daemon.answers["DELETE /v1/sandboxes/gone"] = NotFound("there is no sandbox 'gone'")
    done = netmgr("oci", "gc", "-o", "json")
    assert (done.status, json.loads(done.out)) == (0, {"removed": ["demo"]})


def test_commands_that_enter_need_root(netmgr: Netmgr, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    for words in (["run", "--", "true"], ["sandbox", "exec", "demo", "--", "true"]):
        done = netmgr(*words)
        assert done.status == 1
        assert "needs root" in done.err


# -- policies ------------------------------------------------------------------------------------


def test_policy_get_prints_the_file_and_nothing_else(netmgr: Netmgr, daemon: Any) -> None:
    done = netmgr("policy", "get", "demo", "--revision", "3")
    assert done.out == "version: 1\n"
    assert daemon.last[2] == {"revision": "3"}


def test_policy_set_says_what_happened(netmgr: Netmgr, policy_file: Path) -> None:
    done = netmgr("policy", "set", "demo", str(policy_file))
    assert done.out == "revision 4 is in force (0123456789ab)\n"
    assert done.err == "warning: careful\n"
    dry = netmgr("policy", "set", "demo", str(policy_file), "--dry-run")
    assert dry.out.startswith("valid: would replace revision 4")


def test_update_sends_one_batch(netmgr: Netmgr, daemon: Any) -> None:
    netmgr(
        "policy", "update", "demo", "--add-deny", "a:1:GET:/x", "--add-endpoint", "a:1:full",
        "--add-endpoint", "b:2", "--remove-rule", "old",
    )  # fmt: skip
    assert daemon.last[3]["operations"] == [
        {"op": "remove-rule", "value": "old"},
        {"op": "add-endpoint", "value": "a:1:full"},
        {"op": "add-endpoint", "value": "b:2"},
        {"op": "add-deny", "value": "a:1:GET:/x"},
    ]


def test_every_operation_of_update_is_one_the_policy_room_knows() -> None:
    from netmgr.policy.operations import FLAGS
    from netmgr_cli.policy import OPERATIONS

    assert {flag.removeprefix("--") for flag, _, _ in OPERATIONS} == set(FLAGS)


@pytest.mark.parametrize(
    "words",
    [
        ["set"], ["set", "demo"], ["set", "demo", "f", "more"], ["set", "--global"],
        ["get"], ["get", "--global", "demo"], ["update", "demo"], ["rollback", "demo"],
        ["rollback", "demo", "two"], ["diff", "demo"], ["explain", "demo"],
    ],
    ids=" ".join,
)  # fmt: skip
def test_policy_words_that_do_not_fit(words: list[str], netmgr: Netmgr, daemon: Any) -> None:
    assert netmgr("policy", *words).status == 2
    assert daemon.asked == []


def test_diff(netmgr: Netmgr, daemon: Any) -> None:
    assert netmgr("policy", "diff", "demo", "3").out == ""
    daemon.answers["GET /v1/sandboxes/demo/policy"] = NotFound("no revision 9")
    assert netmgr("policy", "diff", "demo", "9").status == 3


def test_diff_shows_what_differs(netmgr: Netmgr, daemon: Any) -> None:
    old = daemon.answers["GET /v1/sandboxes/demo/policy"]
    new = {**old, "text": "version: 1\nprocess: {run_as_user: sandbox}\n", "revision": 4}
    daemon.answers["GET /v1/sandboxes/demo/policy"] = (old, new)
    done = netmgr("policy", "diff", "demo", "3")
    assert done.status == 0
    assert done.out.splitlines()[:2] == ["--- revision 3", "+++ revision 4"]
    assert "+  run_as_user: sandbox" in done.out


def test_only_the_global_policy_can_be_deleted(netmgr: Netmgr, daemon: Any) -> None:
    assert netmgr("policy", "delete").status == 2
    assert daemon.asked == []
    assert netmgr("policy", "delete", "--global").status == 0
    assert daemon.last[:2] == ("DELETE", "/v1/policy")


def test_a_wrong_revision_is_a_conflict(netmgr: Netmgr, daemon: Any, policy_file: Path) -> None:
    daemon.answers["PUT /v1/sandboxes/demo/policy"] = Conflict("revision 4 is in force, not 3")
    assert netmgr("policy", "set", "demo", str(policy_file), "--if-revision", "3").status == 4


def test_explain_denied(netmgr: Netmgr) -> None:
    done = netmgr("policy", "explain", "demo", "https://api.exmaple.com/")
    assert done.status == 6
    assert done.out.startswith("DENIED  https://api.exmaple.com/  (no_matching_rule)\n")
    assert "netmgr policy update demo --add-endpoint api.exmaple.com:443" in done.out


def test_validate_and_explain_need_no_daemon(
    policy_file: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    from netmgr_cli.main import main

    nowhere = ["--socket", str(tmp_path / "none")]
    assert main([*nowhere, "policy", "validate", str(policy_file)]) == 0
    ask = [*nowhere, "policy", "explain", "--policy", str(policy_file)]
    assert main([*ask, "api.example.com:443"]) == 0
    assert main([*ask, "api.exmaple.com:443"]) == 6
    told = capfd.readouterr()
    assert "ALLOWED  api.example.com:443  (allowed)" in told.out
    assert "DENIED" in told.out


def test_validate_names_line_and_key(netmgr: Netmgr, policy_file: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(policy_file.read_text().replace("endpoints:", "endpoint:"))
    done = netmgr("policy", "validate", str(policy_file), str(bad))
    assert done.status == 2
    assert f"{bad}:4: " in done.err
    assert "endpoints" in done.err
    report = netmgr("policy", "validate", str(bad), "-o", "json").json
    assert report["files"][0]["ok"] is False
    assert report["files"][0]["problems"]


# -- providers -----------------------------------------------------------------------------------


def test_credentials_from_everywhere(
    netmgr: Netmgr, daemon: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "key").write_text("from-file\n")
    monkeypatch.setenv("A_KEY", " from-env ")
    reader, writer = os.pipe()
    os.write(writer, b"from-stdin\n")
    os.close(writer)
    with os.fdopen(reader) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        done = netmgr(
            "provider", "create", "--name", "nim", "--type", "nvidia", "--credential", "A_KEY",
            "--credential", f"B=@{tmp_path}/key", "--credential", "C=-", "--credential", "D=inline",
        )  # fmt: skip
    assert done.status == 0, done.err
    assert daemon.last[3]["credentials"] == {
        "A_KEY": "from-env", "B": "from-file", "C": "from-stdin", "D": "inline",
    }  # fmt: skip
    assert "from-" not in done.out + done.err


def test_no_answer_can_make_a_value_appear(netmgr: Netmgr, daemon: Any) -> None:
    """Even a daemon that sent values would see only their names in a table."""
    leaky = {**daemon.answers["GET /v1/providers/nim"], "credentials": {"K": "sk-secret"}}
    daemon.answers["GET /v1/providers/nim"] = leaky
    daemon.answers["GET /v1/providers"] = {"providers": [leaky]}
    assert "sk-secret" not in netmgr("provider", "get", "nim").out
    assert "sk-secret" not in netmgr("provider", "list").out


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--credential", "NVIDIA_API_KEYS"], "did you mean 'NVIDIA_API_KEY'?"),
        (["--credential", "K=@/no/such"], "No such file"),
        (["--credential", "=x"], "expected KEY"),
        (["--credential", "K=1", "--credential", "K=2"], "given twice"),
        (["--credential", "K=-", "--credential", "L=-"], "only one value"),
        (["--config", "x"], "expected KEY=VALUE"),
    ],
)
def test_bad_credentials(
    words: list[str], hint: str, netmgr: Netmgr, daemon: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NVIDIA_API_KEY", "sk-secret")
    with Path(os.devnull).open() as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        done = netmgr("provider", "create", "--name", "n", "--type", "nvidia", *words)
    assert done.status == 2
    assert hint in done.err
    assert "sk-secret" not in done.err
    assert daemon.asked == []


def test_types_are_read_as_the_daemon_lists_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from netmgr.daemon.provider_desk import describe_type
    from netmgr.inference.catalogue import built_in
    from netmgr_cli.credentials import discover

    listed = [describe_type(kind) for kind in built_in().all()]
    for kind in built_in().all():
        environ = dict.fromkeys(kind.discovery, " sk ")
        assert discover(kind.name, {"types": listed}, environ).credentials == dict.fromkeys(
            environ, "sk"
        )


def test_from_existing(netmgr: Netmgr, daemon: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ["provider", "create", "--name", "n", "--from-existing", "--type"]
    monkeypatch.delenv("NVIDIA_API_KEY", raising=False)
    done = netmgr(*words, "nvidia")
    assert (done.status, "NVIDIA_API_KEY" in done.err) == (2, True)
    assert "did you mean 'nvidia'?" in netmgr(*words, "nvidai").err
    monkeypatch.setenv("NVIDIA_API_KEY", "sk-secret")
    assert netmgr(*words, "nvidia").status == 0
    assert daemon.last[3]["credentials"] == {"NVIDIA_API_KEY": "sk-secret"}


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"provider": {"nvidia": {"options": {"apiKey": " sk "}}}}, {"NVIDIA_API_KEY": "sk"}),
        ({"provider": {"nvidia": {"options": {"apiKey": "{env:X}"}}}}, {}),
        ({"provider": {"nvidia": {"options": []}, "a": 5}}, {}),
        ({"provider": []}, {}),
        ([], {}),
    ],
)
def test_keys_are_found_in_the_configuration_of_opencode(
    tmp_path: Path, config: Any, found: dict[str, str]
) -> None:
    from netmgr_cli.credentials import opencode_keys

    file = tmp_path / "opencode" / "opencode.json"
    file.parent.mkdir()
    file.write_text(json.dumps(config))
    assert opencode_keys({"XDG_CONFIG_HOME": str(tmp_path)}) == found
    assert opencode_keys({"HOME": str(tmp_path)}) == {}


def test_reading_a_credential_makes_the_process_undumpable() -> None:
    code = (
        "import resource, ctypes; from netmgr_cli.credentials import read_credentials\n"
        "read_credentials(['K=V'])\n"
        "print(resource.getrlimit(resource.RLIMIT_CORE), ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"
    )
    import subprocess
    import sys

    room = os.pathsep.join(p for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": room},
    )  # fmt: skip
    assert done.stdout.strip() == "(0, 0) 0"


def test_delete_with_force(netmgr: Netmgr, daemon: Any) -> None:
    netmgr("provider", "delete", "nim")
    assert daemon.last[2] == {}
    netmgr("provider", "delete", "nim", "--force")
    assert daemon.last[2] == {"force": "1"}


# -- inference -----------------------------------------------------------------------------------


def test_inference_get_where_none_is_set(netmgr: Netmgr, daemon: Any) -> None:
    daemon.answers["GET /v1/inference"] = {"routes": []}
    assert netmgr("inference", "get").status == 3
    done = netmgr("inference", "get", "-o", "json")
    assert (done.status, done.json) == (3, {"routes": []})


def test_inference_delete_twice_is_done(netmgr: Netmgr, daemon: Any) -> None:
    daemon.answers["DELETE /v1/inference"] = {"deleted": False}
    done = netmgr("inference", "delete", "--sandbox", "demo")
    assert (done.status, done.err) == (0, "nothing was set\n")
    assert daemon.last[2] == {"sandbox": "demo"}


def test_inference_update_sends_only_what_is_given(netmgr: Netmgr, daemon: Any) -> None:
    netmgr("inference", "update", "--timeout", "0", "--no-verify")
    assert daemon.last[3] == {"verify": False, "timeout_s": 0}
    assert netmgr("inference", "update").status == 2


def test_the_patience_of_a_verification_covers_its_probes() -> None:
    from netmgr import calls

    slow = calls.inference_set("p", "m", timeout_s=300)
    assert slow.deadline_s > calls.PROBES * 300


def test_proposals_are_lines_to_apply(netmgr: Netmgr, daemon: Any) -> None:
    done = netmgr("policy", "propose", "demo", "--since", "2h")
    assert done.status == 0
    assert "netmgr policy update demo --add-endpoint new.test:443\n" in done.out
    assert "never: db:443 (a name of this host), 2x" in done.out
    assert daemon.last[:2] == ("GET", "/v1/sandboxes/demo/policy/proposals")
    assert netmgr("policy", "propose", "demo", "--since", "soon").status == 2


def test_the_tests_of_files_are_told_and_counted(netmgr: Netmgr, policy_file: Path) -> None:
    with policy_file.open("a") as file:
        file.write("tests:\n  - {connect: 'api.example.com:443', expect: allow}\n")
    done = netmgr("policy", "test", str(policy_file))
    assert (done.status, "ok" in done.out) == (0, True)
    with policy_file.open("a") as file:
        file.write("  - {resolve: api.example.com, expect: deny}\n")
    failed = netmgr("policy", "test", str(policy_file), "-o", "json")
    assert failed.status == 1
    (report,) = json.loads(failed.out)["files"]
    assert [case["passed"] for case in report["tests"]] == [True, False]
    assert report["tests"][1]["line"] == 9
    refused = netmgr("policy", "validate", str(policy_file))
    assert refused.status == 2
    assert f"{policy_file}:9: tests[1]: resolve api.example.com: expected deny" in refused.err


def test_usage_is_a_table_and_a_chart(netmgr: Netmgr) -> None:
    lines = netmgr("inference", "usage").out.splitlines()
    assert lines[0].split()[:3] == ["MODEL", "CALLS", "FAILED"]
    text = "\n".join(lines)
    assert "1.25+ USD" in text, "a sum that leaves calls out is marked"
    assert "unknown" in text
    long, short = lines[-2:]
    assert (long.count("█"), long.endswith("123556")) == (30, True)
    assert "█" not in short
    assert "▎" in short, "in eighths of a column"


def test_limits_are_named_by_their_subject(netmgr: Netmgr) -> None:
    assert "tenant t" in netmgr("inference", "limit", "show").out
    done = netmgr("inference", "limit", "set", "--concurrency", "3")
    assert done.status == 2
    assert "--default" in done.err
