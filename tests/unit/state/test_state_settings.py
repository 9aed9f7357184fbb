"""Settings: the defaults, the strict file, and the page that is printed from them."""

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from netmgr.errors import BadInput
from netmgr.settings.docs import render_docs
from netmgr.settings.file import (
    CONFIG_VARIABLE,
    load_settings,
    non_default,
    parse_resolv_conf,
    parse_settings,
    upstream_nameservers,
)
from netmgr.settings.table import Settings, keys_needing_restart, settings_keys
from netmgr.settings.values import Account, Direction, Nameserver

DOCS = Path(__file__).parents[3] / "docs" / "config.md"


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(CONFIG_VARIABLE, raising=False)


def problems_of(text: str) -> list[str]:
    with pytest.raises(BadInput) as caught:
        parse_settings(text, "f.yaml")
    return caught.value.message.splitlines()


def test_the_docs_are_printed_from_the_settings() -> None:
    assert DOCS.read_text() == render_docs()


def test_every_default_is_accepted_by_its_own_key() -> None:
    defaults = Settings()
    for name, key in settings_keys().items():
        assert key.doc.endswith((".", ":")), name
        value = getattr(defaults, name)
        if isinstance(value, int | float):
            assert key.accept(value) == value


def test_limits_of_the_contract_go_down_only() -> None:
    keys = settings_keys()
    for name in ("request_head_bytes", "request_headers"):
        assert keys[name].direction(getattr(Settings(), name)) is Direction.DOWN
    assert Settings().request_head_bytes == 16 * 1024
    assert Settings().inference_body_bytes == 32 * 1024 * 1024


def test_an_instance_has_its_own_directories() -> None:
    plain, other = Settings(), Settings.for_instance("x1")
    assert (plain.state_dir, plain.run_dir) == (Path("/var/lib/netmgr"), Path("/run/netmgr"))
    assert (other.state_dir, other.run_dir) == (Path("/var/lib/netmgr-x1"), Path("/run/netmgr-x1"))
    assert other.socket_path == Path("/run/netmgr-x1/api.sock")
    assert other.netns_path("hub") == Path("/run/netns/x1-hub")
    assert other.sandbox_run_dir("a") == Path("/run/netmgr-x1/sandboxes/a")


def test_a_given_directory_wins_over_the_derived_one(tmp_path: Path) -> None:
    assert load_settings(None, instance="x1", state_dir=tmp_path).state_dir == tmp_path


def test_a_bad_instance_name_is_told() -> None:
    with pytest.raises(BadInput, match="lower-case"):
        Settings.for_instance("Bad Name")
    with pytest.raises(BadInput, match="--instance: "):
        load_settings(None, instance="Bad Name")


def test_an_unknown_key_names_place_and_nearest() -> None:
    assert problems_of("\n# c\nsandbox_pol: 10.0.0.0/8\n") == [
        "f.yaml:3: sandbox_pol: unknown key; did you mean 'sandbox_pool'?"
    ]


def test_every_problem_is_told_at_once() -> None:
    found = problems_of("requests: 1\nrequest_headers: 101\nproxy_workers: two\ninstance: UP\n")
    assert [line.split(": ")[0] for line in found] == [f"f.yaml:{n}" for n in (1, 2, 3, 4)]
    assert "above the most, 100" in found[1]
    assert "expected a whole number, found 'two'" in found[2]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("sandbox_pool: 10.1.2.3/8", "host bits"),
        ("sandbox_pool: fd00::/64", "IPv4"),
        ("sandbox_pool: 10.0.0.0/31", "/30 at most"),
        ("state_dir: var/lib", "absolute path"),
        ("state_dir: /var/../etc", "absolute path"),
        ("journal_days: true", "whole number"),
        ("connect_timeout_s: .nan", "number of seconds"),
        ("connect_timeout_s: soon", "number of seconds"),
        ("log_level: loud", "one of debug, info"),
        ("control_plane_ports: [0]", "1 to 65535"),
        ("control_plane_ports: 22", "expected a list"),
        ("dns_servers: [dns.example]", "expected an address"),
        ("dns_servers: ['192.0.2.1:0']", "port"),
        ("treat_as_public: [127.0.0.0/8]", "never counts as public"),
        ("treat_as_public: [0.0.0.0/0]", "never counts as public"),
        ("dns_account: 0", "other than root"),
        ("dns_account: root", "other than root"),
        ("dns_account: nobody-has-this-name", "no user"),
    ],
)
def test_a_wrong_value_says_what_was_expected(line: str, words: str) -> None:
    (problem,) = problems_of(line)
    assert problem.startswith(f"f.yaml:1: {line.split(':')[0]}: ")
    assert words in problem


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("- a\n", "f.yaml:1: expected `key: value`"),
        ("a: [\n", "f.yaml:2: not valid YAML"),
        ("log_level: info\nlog_level: debug\n", "given twice, first in line 1"),
        ("? [1]\n: 2\n", "f.yaml:1: ?: unknown key"),
        ("log_level: !!python/object:os.system x\n", "means nothing here; remove it"),
        ("a: \x00", "not valid YAML"),
    ],
)
def test_a_broken_file_is_told_by_line(text: str, words: str) -> None:
    assert words in "\n".join(problems_of(text))


def test_a_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_text(
        "sandbox_pool: 10.200.0.0/16\n"
        "dns_servers: [9.9.9.9, '192.0.2.1:5353', '[2001:db8::1]:54']\n"
        "dns_account: 5000\ncontrol_plane_ports: [6443, 22, 22]\n"
    )
    settings = load_settings(path)
    assert settings.sandbox_pool == IPv4Network("10.200.0.0/16")
    assert settings.dns_servers == (
        Nameserver("9.9.9.9"),
        Nameserver("192.0.2.1", 5353),
        Nameserver("2001:db8::1", 54),
    )
    assert [str(server) for server in settings.dns_servers][1:] == [
        "192.0.2.1:5353",
        "[2001:db8::1]:54",
    ]
    assert settings.dns_account == Account(5000, 5000)
    assert settings.control_plane_ports == (22, 6443)
    assert set(non_default(settings)) == {
        "sandbox_pool",
        "dns_servers",
        "dns_account",
        "control_plane_ports",
    }


def test_a_named_file_must_exist_and_the_default_one_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput, match="no such file"):
        load_settings(tmp_path / "absent.yaml")
    monkeypatch.setenv(CONFIG_VARIABLE, str(tmp_path / "absent.yaml"))
    with pytest.raises(BadInput, match="no such file"):
        load_settings()
    monkeypatch.delenv(CONFIG_VARIABLE)
    monkeypatch.setattr("netmgr.settings.file.DEFAULT_CONFIG", tmp_path / "absent.yaml")
    assert load_settings() == Settings()


def test_a_file_that_is_too_long_or_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_bytes(b"#" * 300_000)
    with pytest.raises(BadInput, match="longer than"):
        load_settings(path)
    path.write_bytes(b"# ok\nlog_level: \xff\n")
    with pytest.raises(BadInput, match=":2: not UTF-8"):
        load_settings(path)
    with pytest.raises(BadInput, match="directory"):
        load_settings(tmp_path)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"sandbox_pool": IPv4Network("198.18.0.0/16")}, "overlap"),
        ({"sandbox_pool": IPv4Network("169.254.0.0/20")}, "not assignable"),
        ({"name_pool": IPv4Network("127.0.0.0/16")}, "not assignable"),
        ({"dns_account": Account(77002, 1)}, "already that of"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(
    values: dict[str, object], words: str
) -> None:
    with pytest.raises(BadInput, match=words):
        Settings.for_instance("netmgr", **values)


def test_a_contradiction_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_text("sandbox_pool: 198.18.0.0/16\n")
    with pytest.raises(BadInput, match=r"n\.yaml: sandbox_pool"):
        load_settings(path)


def test_a_reload_tells_what_needs_a_restart() -> None:
    old = Settings()
    new = Settings(log_level="debug", socket_group="wheel", journal_days=3)
    assert keys_needing_restart(old, new) == ("socket_group",)


def test_the_hosts_nameservers_are_the_default(tmp_path: Path) -> None:
    resolv = tmp_path / "resolv.conf"
    resolv.write_text("search a\nnameserver 192.0.2.1\nnameserver bogus\nnameserver 192.0.2.1\n")
    assert upstream_nameservers(Settings(), resolv) == (Nameserver("192.0.2.1"),)
    assert upstream_nameservers(Settings(), tmp_path / "absent") == (Nameserver("127.0.0.1"),)
    own = Settings(dns_servers=(Nameserver("9.9.9.9"),))
    assert upstream_nameservers(own, resolv) == (Nameserver("9.9.9.9"),)


def test_a_resolv_conf_of_hundreds_of_servers_is_cut() -> None:
    text = "".join(f"nameserver 192.0.2.{n}\n" for n in range(200))
    assert len(parse_resolv_conf(text)) == 8


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("log_level: !!bool x", "f.yaml:1: the tag 'tag:yaml.org,2002:bool' means nothing here"),
        ("a: 1\nlog_level: !!timestamp x", "f.yaml:2: the tag"),
        ("log_level: !!int ''", "f.yaml:1: the tag"),
        ("dns_servers: &a\n  - *a", "f.yaml:2: write out what the alias *a stands for"),
        ("log_level: \x07", "f.yaml: not valid YAML: unacceptable character"),
        ("dns_try_s: " + "9" * 400, "f.yaml:1: dns_try_s: expected a number of seconds"),
    ],
)
def test_what_yaml_can_do_beyond_settings_is_refused(text: str, words: str) -> None:
    (problem,) = problems_of(text)
    assert problem.startswith(words)


def test_a_few_lines_do_not_unfold_to_gigabytes() -> None:
    levels = [f"  - &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 12)]
    text = "\n".join(["dns_servers:", "  - &l0 [x]", *levels])
    (problem,) = problems_of(text)
    assert len(problem) < 200
