"""A policy file: a policy that survives being written out and read again, or `PolicyError`."""

from netmgr.policy.decision import Request, Target
from netmgr.policy.policy import Policy, parse_policy
from netmgr.policy.problems import MAX_SHOWN, PolicyError

WORDS = (
    b"version: 1\n",
    b"network_policies:\n",
    b"  web:\n",
    b"    endpoints:\n",
    b"      - host: a.test\n",
    b"        port: 443\n",
    b"        ports: [80, 443]\n",
    b"        protocol: rest\n",
    b"        access: read-only\n",
    b"        allowed_ips: [10.0.0.0/8]\n",
    b"        rules:\n",
    b"          - allow: {method: GET, path: /a/**}\n",
    b"    binaries:\n      - path: /usr/bin/curl\n",
    b"&a ",
    b"*a",
    b"!!int ",
    b"<<: ",
    b"? ",
    b"- ",
    b"{a: ",
    b"[",
    b"**.test",
)


def fuzz(data: bytes) -> None:
    """Every problem has its place; what loads is one value however it is written."""
    text = data.decode("utf-8", "surrogateescape")
    try:
        policy = parse_policy(text, "p.yaml")
    except PolicyError as problem:
        lines = problem.message.split("\n")
        assert len(lines) <= MAX_SHOWN + 1
        assert all(line.startswith("p.yaml") for line in lines), lines
        return
    assert Policy.from_doc(policy.to_doc()) == policy
    assert parse_policy(policy.to_yaml(), "again.yaml") == policy
    for name, ports in policy.exact_names().items():
        policy.judge_name(name)
        for port in ports:
            target = Target(name, None, port)
            policy.judge_connection(target)
            policy.judge_request(target, Request("GET", "/a"))
            policy.destination_plan(target)
