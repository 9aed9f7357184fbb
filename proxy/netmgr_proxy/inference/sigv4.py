"""Owns: the AWS signature, version 4, of one request. Pure: the caller brings the time.

Source: "Authenticating Requests (AWS Signature Version 4)", Amazon S3 API reference, and "Create a
signed AWS API request", IAM user guide. tests/unit/inference/test_sigv4.py compares every result
with botocore's. Knows nothing of routes and sockets.
"""

import hashlib
import hmac
import time
from dataclasses import dataclass
from typing import Final
from urllib.parse import quote

ALGORITHM: Final = "AWS4-HMAC-SHA256"
_UNESCAPED: Final = "/~"  # beside letters, digits, '_', '.' and '-'

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Signer:
    """Keys and scope. `secret_key` and `session_token` are never shown: keep it out of messages.

    Attributes:
        session_token: of temporary credentials, or None.
        region, service: the scope of every signature, like `us-east-1` and `bedrock`.
    """

    key_id: str
    secret_key: str
    session_token: str | None
    region: str
    service: str

    def __repr__(self) -> str:
        return f"Signer({self.region}/{self.service})"

    def sign(self, method: str, target: str, host: str, body: bytes, *, now: float) -> Headers:
        """The headers that sign a request; names in lower case.

        Args:
            target: path and query as they are sent, the path escaped once.
            host: the Host header's value.
            now: seconds since the epoch; AWS accepts 5 minutes of difference.
        """
        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now))
        digest = hashlib.sha256(body).hexdigest()
        fields = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": moment}
        if self.session_token is not None:
            fields["x-amz-security-token"] = self.session_token
        names = ";".join(sorted(fields))
        path, _, query = target.partition("?")
        canonical = "\n".join(
            [
                method,
                quote(path, safe=_UNESCAPED),
                _canonical_query(query),
                *(f"{name}:{' '.join(fields[name].split())}" for name in sorted(fields)),
                "",
                names,
                digest,
            ]
        )
        scope = f"{moment[:8]}/{self.region}/{self.service}/aws4_request"
        hashed = hashlib.sha256(canonical.encode()).hexdigest()
        text = "\n".join([ALGORITHM, moment, scope, hashed])
        signature = hmac.new(self._key(moment[:8]), text.encode(), hashlib.sha256).hexdigest()
        credential = f"{self.key_id}/{scope}"
        fields["authorization"] = (
            f"{ALGORITHM} Credential={credential}, SignedHeaders={names}, Signature={signature}"
        )
        del fields["host"]  # it stands in the head already
        return [(name.encode(), value.encode("ascii")) for name, value in fields.items()]

    def _key(self, day: str) -> bytes:
        key = ("AWS4" + self.secret_key).encode()
        for part in (day, self.region, self.service, "aws4_request"):
            key = hmac.new(key, part.encode(), hashlib.sha256).digest()
        return key


def _canonical_query(query: str) -> str:
    """Names and values sorted; they are escaped already, as they are sent."""
    if not query:
        return ""
    pairs = [part.partition("=") for part in query.split("&")]
    return "&".join(f"{name}={value}" for name, _, value in sorted(pairs))
