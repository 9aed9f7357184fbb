"""Owns: whether a client certificate and a private key belong together.

Asked of the library that the proxy workers load them with, so that what passes here loads there.
"""

import os
import ssl

from netmgr.errors import BadInput
from netmgr.secret import Secret


def judge_client_pair(certificate: str, key: Secret) -> None:
    """Judge what a provider's mutual TLS would use.

    Args:
        certificate: PEM text of the chain, the client's own first.
        key: PEM text of its private key.

    Raises:
        BadInput: they do not belong together, or are too weak for the library.
    """
    # load_cert_chain() takes paths only; this file has no name and is gone with its descriptor.
    fd = os.memfd_create("client-pair", os.MFD_CLOEXEC)
    try:
        os.write(fd, client_pair(certificate, key.reveal()).encode())
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(f"/proc/self/fd/{fd}")
    except ssl.SSLError as fault:
        why = (fault.reason or "unusable").lower().replace("_", " ")
        raise BadInput(f"CLIENT_CERT_PEM and CLIENT_KEY_PEM: {why}") from None
    finally:
        os.close(fd)


def client_pair(certificate: str, key: str) -> str:
    """Both in one PEM text."""
    return f"{key.rstrip()}\n{certificate.rstrip()}\n"
