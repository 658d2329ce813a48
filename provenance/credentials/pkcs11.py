"""A signing key that never leaves its token: a smart card or hardware module that speaks PKCS#11."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from clearmark.core.errors import KeyUnavailable
from clearmark.core.optional import import_optional
from clearmark.provenance.credentials.identity_signer import PUBLISHER, IdentitySigner
from clearmark.provenance.credentials.signer import ManifestSigner

__all__ = ["TokenKey", "identity_from_token", "signer_from_token"]

_DIGESTS = {"ES256": hashlib.sha256, "ES384": hashlib.sha384, "ES512": hashlib.sha512}


def signer_from_token(
    chain_pem: bytes,
    *,
    module: Path,
    token: str,
    key_label: str,
    pin: str,
    timestamp_url: str = "",
    identity: IdentitySigner | None = None,
) -> ManifestSigner:
    """Return a signer whose key is `key_label` on `token`, reached through `module` (a PKCS#11 library).

    Needs the package python-pkcs11. The token is asked once, here, so that a wrong PIN is told at the start.

    Raises:
        ExtraMissing: the package is not installed.
        KeyUnavailable: no such module, token or key; a wrong PIN; or a chain that does not parse.
    """
    key = TokenKey(module=module, token=token, key_label=key_label, pin=pin)
    signer = ManifestSigner.from_callback(chain_pem, key.sign, timestamp_url=timestamp_url, identity=identity)
    key.open(signer.algorithm)
    return signer


def identity_from_token(
    chain_pem: bytes,
    *,
    module: Path,
    token: str,
    key_label: str,
    pin: str,
    roles: tuple[str, ...] = (PUBLISHER,),
) -> IdentitySigner:
    """Return the signer of an identity whose key is on a token; as `signer_from_token`.

    Raises:
        ExtraMissing, KeyUnavailable: as `signer_from_token`; UsageError: a role that cannot be one.
    """
    key = TokenKey(module=module, token=token, key_label=key_label, pin=pin)
    identity = IdentitySigner.from_callback(chain_pem, key.sign, roles=roles)
    key.open(identity.algorithm)
    return identity


class TokenKey:
    """One private key on a token. One session, used by one thread at a time, opened anew after a fork."""

    def __init__(self, *, module: Path, token: str, key_label: str, pin: str) -> None:
        self._pkcs11 = import_optional("pkcs11", pip="pip install python-pkcs11")
        self._module, self._token, self._label, self._pin = module, token, key_label, pin
        self._lock = threading.Lock()
        self._held: tuple[int, Any] | None = None
        self._algorithm = "ES256"

    def open(self, algorithm: str) -> None:
        """Log in and find the key, which will sign by `algorithm` (C2PA's name).

        Raises:
            KeyUnavailable: with what the token said.
        """
        self._algorithm = algorithm
        with self._lock:
            self._key()

    def sign(self, data: bytes) -> bytes:
        """Return the signature of `data`: ECDSA as r and s side by side, RSA by PSS, Ed25519.

        Raises:
            KeyUnavailable: when the token does not answer.
        """
        with self._lock:
            key = self._key()
            try:
                return bytes(self._signature(key, data))
            except self._pkcs11.exceptions.PKCS11Error as exc:
                self._held = None  # a token that was pulled out may come back
                raise KeyUnavailable(f"the token {self._token} did not sign: {_words(exc)}") from exc

    def _signature(self, key: Any, data: bytes) -> bytes:
        mechanism = self._pkcs11.Mechanism
        if self._algorithm in _DIGESTS:
            digest = _DIGESTS[self._algorithm](data).digest()
            return bytes(key.sign(digest, mechanism=mechanism.ECDSA))
        if self._algorithm == "ED25519":
            return bytes(key.sign(data, mechanism=mechanism.EDDSA))
        parameters = (mechanism.SHA256, self._pkcs11.MGF.SHA256, 32)
        return bytes(key.sign(data, mechanism=mechanism.SHA256_RSA_PKCS_PSS, mechanism_param=parameters))

    def _key(self) -> Any:
        if self._held is None or self._held[0] != os.getpid():
            forked = self._held is not None
            self._held = (os.getpid(), self._find(forked=forked))
        return self._held[1]

    def _find(self, *, forked: bool) -> Any:
        try:
            library = self._pkcs11.lib(str(self._module))
            if forked:  # what was initialised before a fork is of no use after it
                library.reinitialize()
            session = self._session(library.get_token(token_label=self._token))
            return session.get_key(object_class=self._pkcs11.ObjectClass.PRIVATE_KEY, label=self._label)
        except (self._pkcs11.exceptions.PKCS11Error, RuntimeError, OSError) as exc:
            raise KeyUnavailable(
                f"the key {self._label} on the token {self._token} cannot be used: {_words(exc)}",
                hint="check the module's path, the token's and the key's label, and the PIN",
            ) from exc

    def _session(self, token: Any) -> Any:
        try:
            return token.open(user_pin=self._pin)
        except self._pkcs11.exceptions.UserAlreadyLoggedIn:  # a login counts for the whole process
            return token.open()


def _words(exc: Exception) -> str:
    return str(exc) or type(exc).__name__
