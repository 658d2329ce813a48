"""Who else stands behind a picture: identity assertions (CAWG Identity Assertion 1.2, X.509).

The claim is signed by the tool that made the manifest. An identity assertion inside it is signed by somebody
else, a publisher or a creator, with a certificate of their own, over the hashes of the statements that they
stand behind and of the picture itself. It is checked here, from the bytes that were signed, and nothing is
looked up for it. An assertion that does not hold says something about that person; it does not break the
manifest that it stands in.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import MediaError
from clearmark.provenance.credentials._cbor import decode, members
from clearmark.provenance.credentials.chains import is_signer_certificate, is_vouched_for
from clearmark.provenance.credentials.checks import Check, plain_text
from clearmark.provenance.credentials.codes import explain
from clearmark.provenance.credentials.cose import Sign1, Unsupported, read_sign1
from clearmark.provenance.credentials.jumbf import Superbox, parts_of, superboxes

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

__all__ = ["IDENTITY_ASSERTION", "IDENTITY_USAGES", "X509", "Identity", "read_identities"]

IDENTITY_ASSERTION = "cawg.identity"
X509 = "cawg.x509.cose"

IDENTITY_USAGES = (
    "1.3.6.1.5.5.7.3.4",  # e-mail protection
    "1.3.6.1.5.5.7.3.36",  # document signing
)
"""Extended key usages of certificates that say who somebody is."""

MAX_IDENTITIES = 16
"""Most identity assertions of one manifest that are checked."""

_MAX_REFERENCES = 128
_MAX_ROLES = 32
_DIGESTS = {"sha256": hashlib.sha256, "sha384": hashlib.sha384, "sha512": hashlib.sha512}
_STORE = "c2pa.assertions"


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Somebody who signed for statements in a manifest.

    `state`: `trusted` (it holds, and an anchor for identities vouches for the name), `valid` (it holds, the
    name is the certificate's word alone), `invalid`, or `unknown`: of a `kind` that is not checked here.
    `statements` are the labels of the assertions that were signed for; `c2pa.hash.…` is the picture.
    """

    state: str
    kind: str = ""
    name: str = ""
    issuer: str = ""
    roles: tuple[str, ...] = ()
    statements: tuple[str, ...] = ()
    checks: tuple[Check, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "state": self.state,
            "kind": self.kind or None,
            "name": self.name or None,
            "issuer": self.issuer or None,
            "roles": list(self.roles),
            "statements": list(self.statements),
            "validation": [check.to_dict() for check in self.checks],
        }


class _Broken(Exception):
    """A check that failed, by its code."""


@dataclass(frozen=True)
class _Manifest:
    """The assertions of a manifest by label, and the hashes by which its claim lists them."""

    assertions: Mapping[str, Superbox]
    listed: Mapping[str, tuple[str, bytes]]


@dataclass(frozen=True)
class _Read:
    """What an assertion says before it is believed."""

    kind: str
    roles: tuple[str, ...]
    references: tuple[tuple[str, bytes], ...]
    payload: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def read_identities(
    store: bytes, manifest: str, *, anchors: Sequence[Certificate] = (), at: datetime | None = None
) -> tuple[Identity, ...]:
    """Check every identity assertion of the manifest labelled `manifest`.

    `anchors` are the authorities for identities, a list apart from that for claim signers. `at` is when the
    manifest was signed, if a time stamp shows it; certificates must have been valid then, otherwise now.

    Raises:
        MediaError: when the store cannot be taken apart.
    """
    found = _open(store, manifest)
    labels = [label for label in found.assertions if label.split("__")[0] == IDENTITY_ASSERTION]
    moment = at or datetime.now(UTC)
    return tuple(_judge(label, found, anchors, moment) for label in labels[:MAX_IDENTITIES])


def _open(store: bytes, manifest: str) -> _Manifest:
    assertions: dict[str, Superbox] = {}
    listed: dict[str, tuple[str, bytes]] = {}
    for part in parts_of(store, manifest):
        if part.label == _STORE:
            for one in superboxes(part.content):
                assertions.setdefault(one.label, one)
        elif part.label.split("__")[0] in {"c2pa.claim", "c2pa.claim.v2"} and part.cbor is not None:
            claim = decode(part.cbor)
            if isinstance(claim, dict):
                listed.update(_listed(claim, manifest))
    return _Manifest(assertions, listed)


def _listed(claim: Mapping[Any, Any], manifest: str) -> Iterator[tuple[str, tuple[str, bytes]]]:
    usual = claim.get("alg", "sha256")
    for name in ("created_assertions", "gathered_assertions", "assertions"):
        rows = claim.get(name)
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and isinstance(row.get("hash"), bytes):
                label = _label(row.get("url"), manifest)
                if label:
                    yield label, (str(row.get("alg", usual)), row["hash"])


def _label(url: Any, manifest: str) -> str:
    """Return the label of the assertion of this manifest that a URL names; empty for anything else."""
    if not isinstance(url, str):
        return ""
    for start in (f"self#jumbf={_STORE}/", f"self#jumbf=/c2pa/{manifest}/{_STORE}/"):
        if url.startswith(start):
            return url.removeprefix(start)
    return ""


def _judge(label: str, manifest: _Manifest, anchors: Sequence[Certificate], at: datetime) -> Identity:
    try:
        read = _parse(manifest.assertions[label].cbor or b"", label)
    except (MediaError, _Broken) as exc:
        code = str(exc) if isinstance(exc, _Broken) else "cawg.identity.cbor.invalid"
        return Identity(state="invalid", checks=(_check(code, passed=False),))
    said = Identity(
        state="invalid",
        kind=plain_text(read.kind),
        roles=tuple(plain_text(role) for role in read.roles),
        statements=tuple(plain_text(_short(url)) for url, _ in read.references),
    )
    try:
        _check_references(label, read, manifest)
        if read.kind != X509:
            return replace(said, state="unknown", checks=(_check("cawg.identity.sig_type.unknown"),))
        signature = _signature(read)
        said = _named(said, signature.certificates[0])
        _check_certificate(signature.certificates[0], at)
    except _Broken as exc:
        return replace(said, checks=(_check(str(exc), passed=False),))
    trusted = is_vouched_for(signature.certificates, anchors, at, IDENTITY_USAGES)
    word = "trusted" if trusted else "untrusted"
    checks = (
        _check("cawg.identity.well-formed", passed=True),
        _check("cawg.x509.signature.validated", passed=True),
        _check(f"cawg.x509.credential.{word}", passed=trusted),
    )
    return replace(said, state="trusted" if trusted else "valid", checks=checks)


def _parse(data: bytes, label: str) -> _Read:
    raw = members(data)
    payload = decode(raw.get("signer_payload", b""))
    signature = decode(raw.get("signature", b""))
    if not isinstance(payload, dict) or not isinstance(signature, bytes):
        raise MediaError(f"{label} has no payload, or no signature")
    for name in ("pad1", "pad2"):
        pad = decode(raw[name]) if name in raw else b""
        if not isinstance(pad, bytes) or pad.strip(b"\x00"):
            raise _Broken("cawg.identity.pad.invalid")
    references = payload.get("referenced_assertions")
    roles = payload.get("role", [])
    if not isinstance(references, list) or not isinstance(roles, list) or not references:
        raise MediaError(f"{label} refers to nothing")
    if len(references) > _MAX_REFERENCES or len(roles) > _MAX_ROLES:
        raise MediaError(f"{label} refers to more than {_MAX_REFERENCES} statements")
    pairs = []
    for row in references:
        if not isinstance(row, dict) or not isinstance(row.get("hash"), bytes):
            raise MediaError(f"{label} refers to something without its hash")
        pairs.append((str(row.get("url", "")), row["hash"]))
    return _Read(
        kind=str(payload.get("sig_type", "")),
        roles=tuple(str(role) for role in roles),
        references=tuple(pairs),
        payload=raw["signer_payload"],
        signature=signature,
    )


def _check_references(own: str, read: _Read, manifest: _Manifest) -> None:
    """Find every statement that is referred to, with its hash, in claim and store; and the picture."""
    labels = [_short(url) for url, _ in read.references]
    if len(set(labels)) != len(labels):
        raise _Broken("cawg.identity.assertion.duplicate")
    for (_, digest), label in zip(read.references, labels, strict=True):
        algorithm, listed = manifest.listed.get(label, ("", b""))
        box = manifest.assertions.get(label)
        if box is None or algorithm not in _DIGESTS or label == own:
            raise _Broken("cawg.identity.assertion.mismatch")
        if not digest == listed == _DIGESTS[algorithm](box.body).digest():
            raise _Broken("cawg.identity.assertion.mismatch")
    if not any(label.startswith("c2pa.hash.") for label in labels):
        raise _Broken("cawg.identity.hard_binding_missing")


def _short(url: str) -> str:
    return url.rpartition(f"{_STORE}/")[2]


def _signature(read: _Read) -> Sign1:
    try:
        signature = read_sign1(read.signature)
        fits = signature.fits(read.payload)
    except Unsupported as exc:
        raise _Broken("cawg.x509.algorithm.unsupported") from exc
    except MediaError as exc:
        raise _Broken("cawg.x509.credential.invalid") from exc
    if not fits:
        raise _Broken("cawg.x509.signature.mismatch")
    return signature


def _check_certificate(certificate: Certificate, at: datetime) -> None:
    if not is_signer_certificate(certificate, IDENTITY_USAGES):
        raise _Broken("cawg.x509.credential.invalid")
    if not certificate.not_valid_before_utc <= at <= certificate.not_valid_after_utc:
        raise _Broken("cawg.x509.signature.outside_validity")


def _named(said: Identity, certificate: Certificate) -> Identity:
    """Add whom the certificate names: its common name, and the organisation that stands in it."""
    from cryptography.x509.oid import NameOID

    names = []
    for oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME):
        found = certificate.subject.get_attributes_for_oid(oid)
        names.append(plain_text(str(found[0].value)) if found else "")
    return replace(said, name=names[0], issuer=names[1])


def _check(code: str, *, passed: bool | None = None) -> Check:
    return Check(code=code, explanation=explain(code), passed=passed)
