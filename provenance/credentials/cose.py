"""COSE_Sign1 with a certificate chain (RFC 9052, RFC 9360): who signed these bytes, and whether they did."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import MediaError
from clearmark.provenance.credentials._cbor import Tagged, decode, encode
from clearmark.provenance.credentials.chains import load_certificates

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["Sign1", "Unsupported", "read_sign1"]

_SIGN1 = 18
_ALG = 1
_X5CHAIN = (33, "x5chain")
_ECDSA = {-7: ("SHA256", 32), -35: ("SHA384", 48), -36: ("SHA512", 66)}
_PSS = {-37: "SHA256", -38: "SHA384", -39: "SHA512"}
_EDDSA = -8
_MIN_RSA_BITS = 2048


class Unsupported(MediaError):
    """A signature by an algorithm that C2PA does not allow."""


@dataclass(frozen=True)
class Sign1:
    """A signature whose payload stands elsewhere; `certificates` are the signer's, the leaf first."""

    algorithm: int
    certificates: tuple[Certificate, ...]
    signature: bytes = field(repr=False)
    protected: bytes = field(repr=False)

    def fits(self, payload: bytes) -> bool:
        """Say whether it is the leaf's signature of `payload`.

        Raises:
            Unsupported: an algorithm that C2PA does not allow, or one that the leaf's key is not for.
        """
        from cryptography.exceptions import InvalidSignature

        signed = encode(["Signature1", self.protected, b"", payload])
        try:
            self._check(signed)
        except InvalidSignature:
            return False
        return True

    def _check(self, signed: bytes) -> None:
        from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
        from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

        try:
            key = self.certificates[0].public_key()
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise Unsupported("a key of a kind that is not known") from exc
        if self.algorithm in _ECDSA and isinstance(key, ec.EllipticCurvePublicKey):
            name, size = _ECDSA[self.algorithm]
            if (key.curve.key_size + 7) // 8 != size:
                raise Unsupported("a curve that is not the algorithm's")
            if len(self.signature) != 2 * size:
                raise InvalidSignature
            r, s = (int.from_bytes(self.signature[at : at + size], "big") for at in (0, size))
            key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(getattr(hashes, name)()))
        elif self.algorithm in _PSS and isinstance(key, rsa.RSAPublicKey):
            if not _MIN_RSA_BITS <= key.key_size <= 16384:
                raise Unsupported(f"an RSA key of {key.key_size} bits")
            digest = getattr(hashes, _PSS[self.algorithm])()
            # The salt is as long as the digest (RFC 8230, section 2).
            pss = padding.PSS(mgf=padding.MGF1(digest), salt_length=digest.digest_size)
            key.verify(self.signature, signed, pss, digest)
        elif self.algorithm == _EDDSA and isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(self.signature, signed)
        else:
            raise Unsupported("an algorithm that C2PA does not allow, or that is not the key's")


def read_sign1(data: bytes) -> Sign1:
    """Read a signature.

    Raises:
        MediaError: what is no COSE_Sign1 with a certificate chain and its payload elsewhere.
    """
    envelope = decode(data)
    if isinstance(envelope, Tagged) and envelope.tag == _SIGN1:
        envelope = envelope.value
    if not isinstance(envelope, list) or len(envelope) != 4:
        raise MediaError("the signature is no COSE_Sign1")
    protected, unprotected, payload, signature = envelope
    if not isinstance(protected, bytes) or not isinstance(signature, bytes) or payload is not None:
        raise MediaError("the signature is no COSE_Sign1 whose payload stands elsewhere")
    headers = decode(protected) if protected else {}
    algorithm = headers.get(_ALG) if isinstance(headers, dict) else None
    if not isinstance(algorithm, int):
        raise MediaError("the signature names no algorithm")
    chain = _chain(headers) or _chain(unprotected)
    return Sign1(algorithm, load_certificates(chain), signature, protected)


def _chain(headers: Any) -> list[bytes]:
    if not isinstance(headers, dict):
        return []
    for name in _X5CHAIN:
        chain = headers.get(name)
        chain = [chain] if isinstance(chain, bytes) else chain
        if isinstance(chain, list) and chain and all(isinstance(one, bytes) for one in chain):
            return chain
    return []
