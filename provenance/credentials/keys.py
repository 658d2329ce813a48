"""Private keys from files: which kinds C2PA allows, and how they are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from clearmark.core.errors import KeyUnavailable

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

    PrivateKey = EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey

__all__ = ["algorithm_of", "load_key", "plain_pem", "raw_signature"]

_CURVES = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def load_key(key_pem: bytes, password: bytes | None = None) -> PrivateKey:
    """Read a PEM private key that C2PA can sign with: P-256, P-384, P-521, Ed25519, or RSA of 2048 bits up.

    Raises:
        KeyUnavailable: when it does not parse, needs a password, or is of another kind. The key never
            stands in the message.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(key_pem, password)
    except TypeError:
        wanted = "is encrypted, and no password was given" if password is None else "is not encrypted"
        raise KeyUnavailable(f"the signing key {wanted}") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyUnavailable("the signing key cannot be read: not PEM, broken, or a wrong password") from None
    if isinstance(key, EllipticCurvePrivateKey | Ed25519PrivateKey | RSAPrivateKey):
        algorithm_of(key.public_key())
        return key
    raise KeyUnavailable(f"C2PA does not sign with {type(key).__name__}", hint="use ECDSA P-256 or Ed25519")


def algorithm_of(public_key: object) -> str:
    """Return C2PA's name for the signature of this key: ES256, ES384, ES512, PS256 or ED25519.

    Raises:
        KeyUnavailable: for a curve or key size that C2PA does not allow (section 13.2).
    """
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

    if isinstance(public_key, EllipticCurvePublicKey) and public_key.curve.name in _CURVES:
        return _CURVES[public_key.curve.name]
    if isinstance(public_key, Ed25519PublicKey):
        return "ED25519"
    if isinstance(public_key, RSAPublicKey) and public_key.key_size >= 2048:
        return "PS256"
    raise KeyUnavailable("C2PA does not allow a key of this curve or size", hint="use ECDSA P-256 or Ed25519")


def plain_pem(key: PrivateKey) -> bytes:
    """Return the key as PKCS#8 without encryption, as the library takes it. A secret: it stays in memory."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def raw_signature(algorithm: str, signature: bytes) -> bytes:
    """Return an ECDSA signature as r and s side by side, also where a key service gives it in DER form."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    size = {"ES256": 32, "ES384": 48, "ES512": 66}.get(algorithm)
    if size is None or len(signature) == 2 * size:
        return signature
    try:
        r, s = decode_dss_signature(signature)
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")
    except (ValueError, OverflowError):
        return signature  # no ECDSA signature at all: whoever checks it says so
