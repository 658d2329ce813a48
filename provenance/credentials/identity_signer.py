"""Sign for a picture in a name of one's own, beside the tool's: the signer of identity assertions."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime

from clearmark.core.errors import KeyUnavailable, SigningFailed, UsageError
from clearmark.provenance.credentials.chains import is_signer_certificate
from clearmark.provenance.credentials.identity import IDENTITY_USAGES
from clearmark.provenance.credentials.keys import algorithm_of, load_key, plain_pem
from clearmark.provenance.credentials.manifest import LEDGER_ASSERTION
from clearmark.provenance.credentials.trust import certificates_of, pem_blocks

__all__ = ["PUBLISHER", "IdentitySigner"]

PUBLISHER = "cawg.publisher"

STATEMENTS = (
    "c2pa.actions.v2",
    LEDGER_ASSERTION,
    "cawg.training-mining",
    *("c2pa.soft-binding", *(f"c2pa.soft-binding__{number}" for number in range(1, 8))),
    *("c2pa.ingredient.v3", *(f"c2pa.ingredient.v3__{number}" for number in range(1, 64))),
)
"""What is signed for, where the manifest has it; the hash of the picture is always among it."""

_ROLE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class IdentitySigner:
    """Somebody's certificate chain, leaf first, and their key. Made by `from_pem` or `from_callback`.

    `roles` say what they are to the picture: `cawg.creator`, `cawg.publisher` and the like (CAWG Identity
    Assertion 1.2, section 5.1.2), or names of one's own.
    """

    def __init__(
        self,
        *,
        chain_pem: bytes,
        key: bytes | Callable[[bytes], bytes],
        roles: tuple[str, ...] = (PUBLISHER,),
    ) -> None:
        try:
            self.chain = pem_blocks(chain_pem)
            self._certificate = certificates_of(self.chain)[0]
        except UsageError as exc:
            raise KeyUnavailable(
                "the certificate chain of the identity cannot be read", hint="PEM, the leaf first"
            ) from exc
        if not is_signer_certificate(self._certificate, IDENTITY_USAGES):
            raise KeyUnavailable(
                "the certificate does not say who somebody is",
                hint="it needs the extended key usage emailProtection or documentSigning",
            )
        wrong = [role for role in roles if not _ROLE.fullmatch(role)]
        if wrong:
            raise UsageError(f"{wrong[0][:64]!r} cannot be a role", hint="such as cawg.publisher")
        self.roles = roles
        self.key = key
        self.algorithm = algorithm_of(self._certificate.public_key())

    @classmethod
    def from_pem(
        cls,
        chain_pem: bytes,
        key_pem: bytes,
        *,
        password: bytes | None = None,
        roles: tuple[str, ...] = (PUBLISHER,),
    ) -> IdentitySigner:
        """Make a signer from a chain and a private key, PKCS#8; `password` decrypts it.

        Raises:
            KeyUnavailable: when either does not parse, the key is not the certificate's, or the certificate
                is not one that says who somebody is.
            UsageError: a role that cannot be one.
        """
        key = load_key(key_pem, password)
        made = cls(chain_pem=chain_pem, key=plain_pem(key), roles=roles)
        if made._certificate.public_key() != key.public_key():
            raise KeyUnavailable(
                "the key of the identity is not the one that its certificate was issued for",
                hint="give the chain and the key of the same pair, the leaf certificate first",
            )
        return made

    @classmethod
    def from_callback(
        cls, chain_pem: bytes, sign: Callable[[bytes], bytes], *, roles: tuple[str, ...] = (PUBLISHER,)
    ) -> IdentitySigner:
        """Make a signer whose key is elsewhere; `sign` is as for `ManifestSigner.from_callback`.

        Raises:
            KeyUnavailable, UsageError: as `from_pem`.
        """
        return cls(chain_pem=chain_pem, key=sign, roles=roles)

    def check(self) -> None:
        """Refuse to sign with a certificate that has ended.

        Raises:
            SigningFailed: it has.
        """
        ends = self._certificate.not_valid_after_utc
        if datetime.now(UTC) >= ends:
            raise SigningFailed(f"the certificate of the identity ended on {ends:%Y-%m-%d}", hint="renew it")
