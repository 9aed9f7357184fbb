"""Owns: TLS towards origins: whom we trust, and what a failure is called."""

import ssl

from netmgr.reasons import Reason
from netmgr_proxy.wire.face import Refusal


def make_client_context(roots_pem: str) -> ssl.SSLContext:
    """A client's context that trusts exactly these roots; names are verified.

    Raises:
        ssl.SSLError: the text holds no certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=roots_pem)
    context.set_alpn_protocols(["http/1.1"])
    return context


def explain_failure(fault: BaseException, name: str) -> Refusal:
    """What went wrong in a handshake with `name`, in words that say whose fault it is."""
    if isinstance(fault, ssl.SSLCertVerificationError):
        why = f"the certificate of {name} does not verify: {fault.verify_message}"
    elif isinstance(fault, ssl.SSLError):
        why = f"TLS with {name} failed: {(fault.reason or str(fault)).lower().replace('_', ' ')}"
    elif isinstance(fault, TimeoutError):
        return Refusal(Reason.UPSTREAM_TIMEOUT, f"the TLS handshake with {name} took too long")
    else:
        why = f"{name} closed the connection during the TLS handshake"
    return Refusal(Reason.UPSTREAM_TLS, why)
