"""A time-stamping authority of one's own (RFC 3161), for networks that reach no other.

A manifest with a time stamp outlives its certificate: it shows that the signing was while the certificate was
valid. That is worth as much as the authority is trusted, so a stranger will want a public one; here the
authority hangs under the development root, and serves this machine only.
"""

from __future__ import annotations

import hashlib
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from clearmark.core import der
from clearmark.core.errors import KeyUnavailable, MediaError
from clearmark.provenance.credentials.development import DevelopmentCredentials, issue_development_leaf

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = ["TimestampAuthority"]

_POLICY = "1.3.6.1.4.1.4146.2.3"  # a policy that makes no promise about accuracy
_SHA256 = "2.16.840.1.101.3.4.2.1"
_DIGESTS = {_SHA256: 32, "2.16.840.1.101.3.4.2.2": 48, "2.16.840.1.101.3.4.2.3": 64}
_TST_INFO = "1.2.840.113549.1.9.16.1.4"
_SIGNED_DATA = "1.2.840.113549.1.7.2"
_ECDSA_SHA256 = "1.2.840.10045.4.3.2"
_CONTENT_TYPE = "1.2.840.113549.1.9.3"
_MESSAGE_DIGEST = "1.2.840.113549.1.9.4"
_SIGNING_CERTIFICATE = "1.2.840.113549.1.9.16.2.47"
_MAX_REQUEST = 4096
_REJECTED = der.sequence(der.sequence(der.integer(2)))


class TimestampAuthority:
    """Stamps digests with the current time, signed by an ECDSA P-256 key."""

    def __init__(self, *, chain_pem: bytes, key_pem: bytes) -> None:
        from cryptography import x509
        from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        key = load_pem_private_key(key_pem, None)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise KeyUnavailable("a time-stamping authority here signs with ECDSA")
        self._key: EllipticCurvePrivateKey = key
        self._chain = x509.load_pem_x509_certificates(chain_pem)

    @classmethod
    def from_development(cls, credentials: DevelopmentCredentials, *, days: int = 3650) -> TimestampAuthority:
        """Make an authority under the development root: who trusts the root trusts its time stamps."""
        chain_pem, key_pem = issue_development_leaf(
            credentials,
            common_name="clearmark development time stamps",
            usages=("1.3.6.1.5.5.7.3.8",),
            critical_usage=True,
            not_after=datetime.now(UTC) + timedelta(days=days),
        )
        return cls(chain_pem=chain_pem + credentials.root_pem, key_pem=key_pem)

    def respond(self, request: bytes, *, now: datetime | None = None) -> bytes:
        """Answer a TimeStampReq with a TimeStampResp; what is no request is answered with a rejection."""
        try:
            imprint, nonce, wants_certificates = _read_request(request)
        except MediaError:
            return _REJECTED
        info = der.sequence(
            der.integer(1),
            der.oid(_POLICY),
            imprint,
            der.integer(secrets.randbits(63)),
            der.generalized_time(now or datetime.now(UTC)),
            nonce,
        )
        token = der.sequence(
            der.oid(_SIGNED_DATA), der.tagged(0, self._signed_data(info, wants_certificates))
        )
        return der.sequence(der.sequence(der.integer(0)), token)

    def _signed_data(self, info: bytes, wants_certificates: bool) -> bytes:
        from cryptography.hazmat.primitives.serialization import Encoding

        certificates = [one.public_bytes(Encoding.DER) for one in self._chain]
        algorithm = der.sequence(der.oid(_SHA256), der.null())
        held = der.tagged(0, b"".join(certificates)) if wants_certificates else b""
        return der.sequence(
            der.integer(3),
            der.set_of(algorithm),
            der.sequence(der.oid(_TST_INFO), der.tagged(0, der.octets(info))),
            held,
            der.set_of(self._signer_info(info, certificates[0], algorithm)),
        )

    def _signer_info(self, info: bytes, certificate: bytes, algorithm: bytes) -> bytes:
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        leaf = self._chain[0]
        named = der.sequence(der.sequence(der.sequence(der.octets(hashlib.sha256(certificate).digest()))))
        attributes = der.set_of(
            der.sequence(der.oid(_CONTENT_TYPE), der.set_of(der.oid(_TST_INFO))),
            der.sequence(der.oid(_MESSAGE_DIGEST), der.set_of(der.octets(hashlib.sha256(info).digest()))),
            der.sequence(der.oid(_SIGNING_CERTIFICATE), der.set_of(named)),
        )
        return der.sequence(
            der.integer(1),
            der.sequence(leaf.issuer.public_bytes(), der.integer(leaf.serial_number)),
            algorithm,
            # Signed as a SET, sent with a context tag in its place (RFC 5652, section 5.4).
            b"\xa0" + attributes[1:],
            der.sequence(der.oid(_ECDSA_SHA256)),
            der.octets(self._key.sign(attributes, ec.ECDSA(hashes.SHA256()))),
        )

    @contextmanager
    def serve(self) -> Iterator[str]:
        """Serve on a free port of 127.0.0.1 while the context lasts, and give its URL."""
        from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

        respond = self.respond

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = min(int(self.headers.get("content-length") or 0), _MAX_REQUEST)
                answer = respond(self.rfile.read(length))
                self.send_response(200)
                self.send_header("content-type", "application/timestamp-reply")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_args: object) -> None:
                """Say nothing: what is stamped is nobody's business."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _read_request(request: bytes) -> tuple[bytes, bytes, bool]:
    """Return the message imprint and the nonce as they stand, and whether certificates are wanted."""
    if len(request) > _MAX_REQUEST:
        raise MediaError("a time stamp request that is too long")
    outer = der.children(request)
    if len(outer) != 1 or outer[0][0] != 0x30:
        raise MediaError("not a time stamp request")
    parts = der.children(outer[0][1])
    if len(parts) < 2 or parts[0][2] != der.integer(1) or parts[1][0] != 0x30:
        raise MediaError("not a time stamp request of version 1")
    imprint = der.children(parts[1][1])
    known = {der.sequence(der.oid(name)): size for name, size in _DIGESTS.items()}
    known |= {der.sequence(der.oid(name), der.null()): size for name, size in _DIGESTS.items()}
    if len(imprint) != 2 or imprint[1][0] != 0x04 or known.get(imprint[0][2]) != len(imprint[1][1]):
        raise MediaError("a digest that is not stamped")
    nonce = next((whole for tag, _, whole in parts[2:] if tag == 0x02), b"")
    return parts[1][2], nonce, (0x01, b"\xff") in [(tag, content) for tag, content, _ in parts[2:]]
