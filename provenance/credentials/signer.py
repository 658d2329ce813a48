"""Sign manifests: with a key file, or through a callback that signs elsewhere (a KMS, a PKCS#11 token)."""

from __future__ import annotations

import hashlib
import io
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from os import getpid
from typing import Any

from clearmark.core.assets import Asset
from clearmark.core.errors import KeyUnavailable, MediaError, SigningFailed
from clearmark.core.marks import ManifestMark
from clearmark.provenance._sources import source_type_uri
from clearmark.provenance.credentials.identity_signer import STATEMENTS, IdentitySigner
from clearmark.provenance.credentials.keys import algorithm_of, load_key, plain_pem, raw_signature
from clearmark.provenance.credentials.loopback import SigningServer
from clearmark.provenance.credentials.manifest import ManifestSpec
from clearmark.provenance.credentials.reader import UNREADABLE, CredentialReader, Credentials
from clearmark.provenance.credentials.store import strip_store
from clearmark.provenance.credentials.thumbnails import THUMBNAIL_TYPE, make_thumbnail
from clearmark.provenance.credentials.trust import context, pem_blocks, settings

__all__ = ["ManifestSigner", "Signed"]


@dataclass(frozen=True, kw_only=True)
class Signed:
    """A picture with its manifest inside, and what the reader found when it was read back."""

    data: bytes = field(repr=False)
    mark: ManifestMark
    credentials: Credentials


class ManifestSigner:
    """Signs C2PA manifests with one certificate chain. Safe to share between threads and after a fork.

    Made by `from_pem` or `from_callback`. `identity` is who signs for the picture beside it.
    """

    def __init__(
        self,
        *,
        chain_pem: bytes,
        key: bytes | Callable[[bytes], bytes],
        timestamp_url: str = "",
        identity: IdentitySigner | None = None,
    ) -> None:
        from cryptography import x509

        self._chain = _chain(chain_pem)
        self._certificate = x509.load_pem_x509_certificates(self._chain)[0]
        self._key = key
        self._timestamp_url = timestamp_url
        self.algorithm = algorithm_of(self._certificate.public_key())
        self._native: tuple[int, Any] | None = None
        self._lock = threading.Lock()
        self._fault = threading.local()
        self._identity = identity
        self._contexts: dict[tuple[int, bytes | None], Any] = {}
        self._server = _server(self, identity) if identity is not None else None

    @classmethod
    def from_pem(
        cls,
        chain_pem: bytes,
        key_pem: bytes,
        *,
        password: bytes | None = None,
        timestamp_url: str = "",
        identity: IdentitySigner | None = None,
    ) -> ManifestSigner:
        """Make a signer from a chain (leaf first) and a private key, PKCS#8; `password` decrypts it.

        Raises:
            KeyUnavailable: when either does not parse, or the key is not the certificate's.
        """
        from cryptography import x509

        key = load_key(key_pem, password)
        certificate = x509.load_pem_x509_certificates(_chain(chain_pem))[0]
        if certificate.public_key() != key.public_key():
            raise KeyUnavailable(
                "the signing key is not the one that the certificate was issued for",
                hint="give the chain and the key of the same pair, the leaf certificate first",
            )
        return cls(chain_pem=chain_pem, key=plain_pem(key), timestamp_url=timestamp_url, identity=identity)

    @classmethod
    def from_callback(
        cls,
        chain_pem: bytes,
        sign: Callable[[bytes], bytes],
        *,
        timestamp_url: str = "",
        identity: IdentitySigner | None = None,
    ) -> ManifestSigner:
        """Make a signer whose key is elsewhere: `sign` gets the bytes to sign and returns the signature.

        The digest follows the key: SHA-256 for P-256 and RSA (PSS, salt of 32 bytes), SHA-384 for P-384,
        SHA-512 for P-521; Ed25519 takes the bytes as they are. What `sign` raises becomes the cause of the
        `SigningFailed`.

        Raises:
            KeyUnavailable: when the chain does not parse, or its key is of a kind that C2PA does not allow.
        """
        return cls(chain_pem=chain_pem, key=sign, timestamp_url=timestamp_url, identity=identity)

    @property
    def name(self) -> str:
        """The signer's common name, as verifiers show it."""
        from cryptography.x509.oid import NameOID

        found = self._certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return str(found[0].value) if found else self._certificate.subject.rfc4514_string()

    @property
    def expires(self) -> datetime:
        """When the leaf certificate ends, UTC."""
        return self._certificate.not_valid_after_utc

    def sign(
        self, data: bytes, media_type: str, spec: ManifestSpec, *, trust_anchors_pem: bytes | None = None
    ) -> Signed:
        """Sign what `spec` states into `data`, and read it back before it is returned.

        `trust_anchors_pem` decides what is recorded about the signers of the ingredients.

        Raises:
            SigningFailed: when the certificate has ended, the key does not answer, the library refuses, or
                what was written does not read back as valid.
        """
        import c2pa

        if datetime.now(UTC) >= self.expires:
            raise SigningFailed(
                f"the signing certificate ended on {self.expires:%Y-%m-%d}",
                hint="renew it; what was signed before keeps its time stamp, if it has one",
            )
        if self._identity is not None:
            self._identity.check()
        self._fault.error = None
        try:
            written, store = self._written(data, media_type, spec, trust_anchors_pem)
        except c2pa.C2paError as exc:
            fault = self._fault.error or (self._server.fault() if self._server else None)
            hint = "check the key, its token or service" if fault else ""
            if self._server and self._server.forked:
                hint = "keys that are elsewhere, with an identity, are not asked after a fork: spawn instead"
            raise SigningFailed(f"the manifest could not be signed: {fault or exc}", hint=hint) from (
                fault or exc
            )
        return self._checked(written, media_type, store, spec)

    def _written(
        self, data: bytes, media_type: str, spec: ManifestSpec, anchors: bytes | None, *, attempts: int = 2
    ) -> tuple[bytes, bytes]:
        """Return the file with its manifest, and the manifest store."""
        import c2pa

        out = io.BytesIO()
        small = make_thumbnail(data, spec.thumbnails) if spec.thumbnails else None
        name = "thumbnail.jpg" if small else ""
        builder = c2pa.Builder(spec.to_json(thumbnail=name), context=self._context(anchors))
        if small:
            builder.add_resource(name, io.BytesIO(small))
        for asset, definition in spec.ingredients:
            data_in, definition_in = _readable(asset, definition)
            if (
                spec.thumbnails
                and spec.thumbnails.inputs
                and (small := make_thumbnail(data_in, spec.thumbnails))
            ):
                name = f"{definition['label']}.jpg"
                builder.add_resource(name, io.BytesIO(small))
                definition_in = {**definition_in, "thumbnail": {"format": THUMBNAIL_TYPE, "identifier": name}}
            builder.add_ingredient(definition_in, asset.media_type, io.BytesIO(data_in))
        try:
            # With an identity, the library signs with what stands in the context's settings.
            signer = () if self._identity else (self._signer(),)
            store = builder.sign(*signer, media_type, io.BytesIO(data), out)
        except c2pa.C2paError.Signature:
            # Very rarely the library cannot use a signature that it made itself; ECDSA makes another.
            if attempts <= 1 or self._fault.error is not None:
                raise
            return self._written(data, media_type, spec, anchors, attempts=attempts - 1)
        return out.getvalue(), bytes(store)

    def _checked(self, data: bytes, media_type: str, store: bytes, spec: ManifestSpec) -> Signed:
        credentials = CredentialReader().read(data, media_type)
        if credentials.state not in {"valid", "trusted"}:
            codes = ", ".join(check.code for check in credentials.failures) or credentials.state
            raise SigningFailed(
                f"the manifest does not read back as valid: {codes}",
                hint="the certificate may lack the key usages that C2PA asks for",
            )
        if (self._identity is not None) != bool(credentials.identities) or any(
            one.state not in {"valid", "trusted"} for one in credentials.identities
        ):
            # The library takes whatever comes from an address for a signature, an error as well.
            fault = self._server.fault() if self._server else None
            reason = fault or "its signature does not fit"
            raise SigningFailed(
                f"the identity assertion does not read back as valid: {reason}",
                hint="check the identity's key, its token or service",
            ) from fault
        expected = {**spec.ledger.to_dict(), "mark_id": spec.mark_id} if spec.ledger else {}
        if dict(credentials.ledger) != expected or len(credentials.ingredients) != len(spec.ingredients):
            raise SigningFailed("the manifest does not read back as it was written")
        mark = ManifestMark(
            label=credentials.manifest,
            signer=credentials.signer,
            digest="sha256:" + hashlib.sha256(store).hexdigest(),
            source_type=source_type_uri(spec.source),
            store=store,
        )
        return Signed(data=data, mark=mark, credentials=credentials)

    def _context(self, anchors: bytes | None) -> Any:
        if self._identity is None:
            return context(anchors)
        key = (getpid(), anchors)
        with self._lock:
            if key not in self._contexts:
                if len(self._contexts) >= _MOST_CONTEXTS:
                    self._contexts.pop(next(iter(self._contexts)))
                self._contexts[key] = _signing_context(self._settings(anchors))
            return self._contexts[key]

    def _settings(self, anchors: bytes | None) -> dict[str, Any]:
        assert self._identity is not None
        assert self._server is not None
        urls = self._server.urls()
        named = {"referenced_assertions": list(STATEMENTS), "roles": list(self._identity.roles)}
        claim = _key_settings(self._key, self._chain, self.algorithm, urls["claim"])
        identity = _key_settings(
            self._identity.key, self._identity.chain, self._identity.algorithm, urls["identity"]
        )
        if self._timestamp_url:
            next(iter(claim.values()))["tsa_url"] = self._timestamp_url
        next(iter(identity.values())).update(named)
        clean = pem_blocks(anchors) if anchors else b""
        return {**settings(clean), "signer": claim, "cawg_x509_signer": identity}

    def _signer(self) -> Any:
        import c2pa

        with self._lock:
            if self._native is None or self._native[0] != getpid():
                self._native = (getpid(), self._new_signer(c2pa))
            return self._native[1]

    def _new_signer(self, c2pa: Any) -> Any:
        if isinstance(self._key, bytes):
            url = self._timestamp_url.encode() or None
            info = c2pa.C2paSignerInfo(self.algorithm.lower().encode(), self._chain, self._key, url)
            return c2pa.Signer.from_info(info)
        sign = self._key

        def answer(data: bytes) -> bytes:
            # The library only logs what a callback raises; kept here, the caller hears the cause.
            try:
                return sign(bytes(data))
            except Exception as exc:
                self._fault.error = exc
                raise

        return c2pa.Signer.from_callback(
            answer,
            c2pa.C2paSigningAlg[self.algorithm],
            self._chain.decode("ascii"),
            self._timestamp_url or None,
        )


_MOST_CONTEXTS = 4


def _server(signer: ManifestSigner, identity: IdentitySigner) -> SigningServer:
    """Serve the keys that are elsewhere; nothing is started before it is needed."""

    def at(algorithm: str, key: bytes | Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
        def sign(data: bytes) -> bytes:
            if isinstance(key, bytes):
                raise KeyUnavailable("this key is not signed with over an address")
            return raw_signature(algorithm, key(data))

        return sign

    return SigningServer(
        {
            "claim": at(signer.algorithm, signer._key),
            "identity": at(identity.algorithm, identity.key),
        }
    )


def _key_settings(
    key: bytes | Callable[[bytes], bytes], chain: bytes, algorithm: str, url: str
) -> dict[str, Any]:
    """Return the library's settings for one signer: its key, or where it is asked."""
    common = {"alg": algorithm.lower(), "sign_cert": chain.decode("ascii")}
    if isinstance(key, bytes):
        return {"local": {**common, "private_key": key.decode("ascii")}}
    return {"remote": {**common, "url": url}}


def _signing_context(made: dict[str, Any]) -> Any:
    """Return a context whose signers stand in its settings, and which says so: the library forgets to."""
    import c2pa

    inner = c2pa.Context.from_dict(made)

    class Signing(c2pa.ContextProvider):  # type: ignore[misc]  # the library has no types
        has_signer = True

        @property
        def is_valid(self) -> bool:
            return bool(inner.is_valid)

        @property
        def execution_context(self) -> Any:
            return inner.execution_context

    return Signing()


def _readable(asset: Asset, definition: dict[str, str]) -> tuple[bytes, dict[str, Any]]:
    """Take in an ingredient whose manifest is too broken to be kept: without it, and saying so.

    The library would refuse such a picture, or forget in silence that it had a manifest.
    """
    found = CredentialReader().read(asset.data, asset.media_type)
    if found.state != "invalid" or found.manifest:
        return asset.data, definition
    try:
        return strip_store(asset.data), {**definition, "description": UNREADABLE}
    except MediaError as exc:
        raise SigningFailed(f"an input picture is broken: {exc}", hint="encode it anew") from exc


def _chain(chain_pem: bytes) -> bytes:
    from clearmark.core.errors import UsageError

    try:
        return pem_blocks(chain_pem)
    except UsageError as exc:
        raise KeyUnavailable("the certificate chain cannot be read", hint="PEM, the leaf first") from exc
