"""Owns: the one enumeration of reasons that DNS, kernel, TLS, HTTP and inference decisions share.

Knows nothing of how a reason is shown: each face looks that up for itself.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a decision went the way it did. The values are part of the outward contract."""

    ALLOWED = "allowed"
    NO_MATCHING_RULE = "no_matching_rule"
    PORT_NOT_ALLOWED = "port_not_allowed"
    BINARY_NOT_ALLOWED = "binary_not_allowed"
    BINARY_CHANGED = "binary_changed"
    AMBIGUOUS_OWNER = "ambiguous_owner"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    PATH_NOT_ALLOWED = "path_not_allowed"
    QUERY_NOT_ALLOWED = "query_not_allowed"
    OPERATION_NOT_ALLOWED = "operation_not_allowed"
    TOOL_NOT_ALLOWED = "tool_not_allowed"
    DENY_RULE = "deny_rule"
    EXPIRED = "expired"
    SNI_MISMATCH = "sni_mismatch"
    SNI_MISSING = "sni_missing"
    AUTHORITY_MISMATCH = "authority_mismatch"
    ADDRESS_BLOCKED = "address_blocked"
    NAME_NOT_RESOLVED = "name_not_resolved"
    RAW_IP = "raw_ip"
    UDP_BLOCKED = "udp_blocked"
    PROTOCOL_BLOCKED = "protocol_blocked"
    SPOOFED_SOURCE = "spoofed_source"
    PEER_BLOCKED = "peer_blocked"
    MALFORMED_REQUEST = "malformed_request"
    UNSUPPORTED_PROTOCOL = "unsupported_protocol"
    LIMIT_EXCEEDED = "limit_exceeded"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_TLS = "upstream_tls"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    UPSTREAM_AUTH = "upstream_auth"
    PATTERN_NOT_SUPPORTED = "pattern_not_supported"
    NOT_CONFIGURED = "not_configured"
    NO_PERMITTED_ENDPOINT = "no_permitted_endpoint"
    NO_AVAILABLE_ENDPOINT = "no_available_endpoint"
    BUDGET_EXCEEDED = "budget_exceeded"
    MIDDLEWARE_DENIED = "middleware_denied"
    MIDDLEWARE_FAILED = "middleware_failed"
    CREDENTIAL_MISMATCH = "credential_mismatch"
    CREDENTIAL_EXPIRED = "credential_expired"
    UNKNOWN_CALLER = "unknown_caller"
    POLICY_STALE = "policy_stale"
    JOURNAL_UNAVAILABLE = "journal_unavailable"


class Verdict(StrEnum):
    """What became of it."""

    ALLOWED = "allowed"
    DENIED = "denied"
    AUDITED = "audited"  # a rule would deny, `enforcement: audit` let it through
    FAILED = "failed"  # allowed, but the upstream or we could not do it


class Kind(StrEnum):
    """Which street the decision stands on."""

    DNS = "dns"
    CONNECTION = "connection"
    HTTP = "http"
    INFERENCE = "inference"
    FINDING = "finding"
    CONFIG = "config"
    LIFECYCLE = "lifecycle"
