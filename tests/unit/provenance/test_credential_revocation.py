"""Whether a certificate was revoked is asked only on request, of a real responder, and the answer decides."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509 import ocsp

from clearmark.provenance import Verifier, conclude
from clearmark.provenance.credentials import CredentialReader, ManifestSigner, ManifestSpec
from clearmark.provenance.credentials.development import issue_development_leaf

OCSP_SIGNING = "1.3.6.1.5.5.7.3.9"
SOON = datetime.now(UTC) + timedelta(days=5)


class Responder:
    """An OCSP responder (RFC 6960) on the loopback, under the development root."""

    def __init__(self, development):
        self.asked = 0
        self.revoked = False
        self.leaf = None
        self._root = x509.load_pem_x509_certificate(development.root_pem)
        chain, key = issue_development_leaf(
            development, common_name="responder", not_after=SOON, usages=(OCSP_SIGNING,)
        )
        self._own = x509.load_pem_x509_certificates(chain)[0]
        self._key = load_pem_private_key(key, None)
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                self.rfile.read(int(self.headers.get("content-length") or 0))
                body = owner.answer()
                self.send_response(200)
                self.send_header("content-type", "application/ocsp-response")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET  # noqa: N815

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def answer(self):
        self.asked += 1
        now = datetime.now(UTC)
        status = ocsp.OCSPCertStatus.REVOKED if self.revoked else ocsp.OCSPCertStatus.GOOD
        builder = ocsp.OCSPResponseBuilder().add_response(
            cert=self.leaf,
            issuer=self._root,
            algorithm=hashes.SHA1(),  # the name of the certificate in the request, not a signature
            cert_status=status,
            this_update=now - timedelta(minutes=5),
            next_update=now + timedelta(days=1),
            revocation_time=now - timedelta(minutes=10) if self.revoked else None,
            revocation_reason=x509.ReasonFlags.key_compromise if self.revoked else None,
        )
        named = builder.responder_id(ocsp.OCSPResponderEncoding.HASH, self._own).certificates([self._own])
        return named.sign(self._key, hashes.SHA256()).public_bytes(Encoding.DER)

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def responder(development):
    made = Responder(development)
    yield made
    made.close()


@pytest.fixture
def signed(development, responder, encoded):
    chain, key = issue_development_leaf(
        development, common_name="revocable", not_after=SOON, ocsp_url=responder.url
    )
    responder.leaf = x509.load_pem_x509_certificates(chain)[0]
    signer = ManifestSigner.from_pem(chain + development.root_pem, key)
    return signer.sign(encoded(), "image/png", ManifestSpec(mark_id="0" * 16)).data


def codes(credentials):
    return {check.code: check.passed for check in credentials.validation if "ocsp" in check.code}


def test_nobody_is_asked_unless_somebody_wants_it(development, responder, signed):
    responder.revoked = True
    read = CredentialReader(development.root_pem).read(signed, "image/png")
    assert read.state == "trusted"
    assert codes(read) == {"signingCredential.ocsp.skipped": None}
    assert responder.asked == 0


def test_a_revoked_certificate_is_refused(development, responder, signed, read_marks):
    responder.revoked = True
    verifier = Verifier(development.root_pem, ask_revocation=True, extract=read_marks)
    found = verifier.verify([signed])[0]
    assert responder.asked == 1
    assert found.credentials.state == "invalid"
    assert found.exit_code == 4
    assert conclude(found).startswith("The certificate of revocable was revoked")


def test_a_certificate_that_was_not_revoked_stays_trusted(development, responder, signed):
    read = CredentialReader(development.root_pem, ask_revocation=True).read(signed, "image/png")
    assert responder.asked == 1
    assert read.state == "trusted"
    assert codes(read) == {"signingCredential.ocsp.notRevoked": True}
