"""Read Content Credentials, and judge them more strictly than the library's one word does."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from clearmark.core.errors import MediaError
from clearmark.core.parts import check_parts
from clearmark.core.pixels import MAX_BYTES
from clearmark.provenance.credentials.certificates import fingerprint, may_sign_claims, signing_certificate
from clearmark.provenance.credentials.checks import Check
from clearmark.provenance.credentials.checks import plain_text as _text
from clearmark.provenance.credentials.codes import explain
from clearmark.provenance.credentials.identity import IDENTITY_ASSERTION, Identity, read_identities
from clearmark.provenance.credentials.jumbf import count_manifests
from clearmark.provenance.credentials.manifest import LEDGER_ASSERTION
from clearmark.provenance.credentials.store import extract_stores
from clearmark.provenance.credentials.trust import STAMPS_ONLY, anchors_of, certificates_of, context

__all__ = ["ABSENT", "UNREADABLE", "Check", "CredentialReader", "Credentials", "Ingredient"]

UNREADABLE = "carried Content Credentials that could not be read"
"""What a manifest says about an ingredient whose own manifest was too broken to be carried over."""

MAX_MANIFESTS = 128
"""Most manifests that one picture may bring along; checking takes some milliseconds for each."""

_UNTRUSTED = "signingCredential.untrusted"
_GROUPS: tuple[tuple[str, bool | None], ...] = (
    ("failure", False),
    ("success", True),
    ("informational", None),
)
_TRACE = b"jumdc2pa"
"""What stands in every file that holds a manifest store, broken or not."""

_MAX_ITEMS = 256


@dataclass(frozen=True, kw_only=True)
class Ingredient:
    """A picture that went in. `state` is what its own credentials were worth when it was taken in."""

    title: str
    relationship: str
    media_type: str
    state: str
    manifest: str = ""

    def to_dict(self) -> dict[str, str]:
        """Return the JSON form."""
        return {
            "title": self.title,
            "relationship": self.relationship,
            "media_type": self.media_type,
            "state": self.state,
            "manifest": self.manifest,
        }


@dataclass(frozen=True, kw_only=True)
class Credentials:
    """What a picture's Content Credentials say, and what that is worth.

    `state`: `trusted` (all checks pass, and an anchor vouches for the signer), `valid` (all checks pass, the
    signer is unknown), `invalid`, or `absent`. Everything else is the signer's statement, and stands as such
    only when the state is not `invalid`.
    """

    state: str
    signer: str = ""
    issuer: str = ""
    algorithm: str = ""
    signed_at: str = ""
    claim_generator: str = ""
    digital_source_type: str = ""
    actions: tuple[Mapping[str, Any], ...] = ()
    ingredients: tuple[Ingredient, ...] = ()
    validation: tuple[Check, ...] = ()
    manifest: str = ""
    manifests: int = 0
    ledger: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    bindings: tuple[tuple[str, str], ...] = ()
    assertions: tuple[str, ...] = ()
    identities: tuple[Identity, ...] = ()

    @property
    def failures(self) -> tuple[Check, ...]:
        """The checks that failed, the signer being unknown left out."""
        return tuple(check for check in self.validation if check.passed is False and check.code != _UNTRUSTED)

    @property
    def mark_id(self) -> str:
        """The mark id that the ledger assertion names, or empty."""
        return self.ledger.get("mark_id", "")

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "state": self.state,
            "signer": self.signer or None,
            "issuer": self.issuer or None,
            "algorithm": self.algorithm or None,
            "signed_at": self.signed_at or None,
            "claim_generator": self.claim_generator or None,
            "digital_source_type": self.digital_source_type or None,
            "actions": [dict(action) for action in self.actions],
            "ingredients": [ingredient.to_dict() for ingredient in self.ingredients],
            "validation": [check.to_dict() for check in self.validation],
            "manifest": self.manifest or None,
            "manifests": self.manifests,
            "ledger": dict(self.ledger) or None,
            "soft_bindings": [{"alg": alg, "value": value} for alg, value in self.bindings],
            "identities": [identity.to_dict() for identity in self.identities],
        }


ABSENT = Credentials(state="absent")


class CredentialReader:
    """Reads manifests out of files. Safe to share between threads and to use after a fork.

    `timestamp_anchors_pem` are authorities that may vouch for time stamps but not for signers;
    `allowed_signers_pem` are the certificates of single signers that are trusted by themselves. With
    `ask_revocation` the authority that a signer's certificate names is asked over the network whether it has
    revoked it; without, only an answer that was stapled to the signature counts. `identity_anchors_pem` are
    authorities that may vouch for who somebody is, in identity assertions.
    """

    def __init__(
        self,
        trust_anchors_pem: bytes | None = None,
        *,
        timestamp_anchors_pem: bytes | None = None,
        allowed_signers_pem: bytes | None = None,
        ask_revocation: bool = False,
        identity_anchors_pem: bytes | None = None,
    ) -> None:
        self._anchors = (trust_anchors_pem, timestamp_anchors_pem)
        self._identity_anchors = certificates_of(identity_anchors_pem) if identity_anchors_pem else ()
        self._ask_revocation = ask_revocation
        allowed = anchors_of(allowed_signers_pem) if allowed_signers_pem else ()
        self._allowed = frozenset(one.sha256 for one in allowed)
        self._context()  # a broken trust list is reported here, not at the first picture

    def read(self, data: bytes, media_type: str, *, store: bytes | None = None) -> Credentials:
        """Read the manifest inside `data`, or a detached manifest `store` against it.

        Never raises for what the bytes hold: a manifest that cannot be read is `invalid`, with the reason; a
        file that cannot even be taken apart is `absent` where it shows no trace of a manifest.
        """
        if len(data) > MAX_BYTES:
            return _unreadable("general.error", f"{len(data):,} bytes; at most {MAX_BYTES:,} are read")
        try:
            check_parts(data, media_type)
        except MediaError as exc:
            return _unreadable("claim.malformed", str(exc)) if _TRACE in data or store else ABSENT
        held = (store,) if store is not None else _held(data)
        number = sum(_count(one) for one in held)
        if number > MAX_MANIFESTS:
            return _unreadable("general.error", f"{number} manifests; at most {MAX_MANIFESTS} are checked")
        try:
            return self._judged(self._report(data, media_type, store), held)
        except _Inaccessible as exc:
            return _unreadable("manifest.inaccessible", str(exc))
        except _faults() as exc:
            return _unreadable("claim.malformed", str(exc) or type(exc).__name__)

    def _context(self) -> Any:
        return context(*self._anchors, ask_revocation=self._ask_revocation)

    def _report(self, data: bytes, media_type: str, store: bytes | None) -> dict[str, Any] | None:
        """Return what the library says, None where there is no manifest."""
        import c2pa

        try:
            reader = c2pa.Reader(media_type, io.BytesIO(data), manifest_data=store, context=self._context())
        except c2pa.C2paError.ManifestNotFound:
            return None
        with reader:
            if not reader.is_embedded() and store is None:
                raise _Inaccessible("it is kept elsewhere")
            report: dict[str, Any] = json.loads(reader.json())
            return report

    def _judged(self, report: dict[str, Any] | None, held: tuple[bytes, ...]) -> Credentials:
        if report is None:
            return ABSENT
        return self._with_identities(self._second_look(_parse(report), report, held), report, held)

    def _second_look(
        self, credentials: Credentials, report: dict[str, Any], stores: tuple[bytes, ...]
    ) -> Credentials:
        """Judge the signer's certificate itself.

        The library accepts one that is for time stamps only, which C2PA does not; and it trusts no single
        signer.
        """
        if credentials.state == "invalid":
            return credentials
        label = report["active_manifest"]
        serial = (report["manifests"][label].get("signature_info") or {}).get("cert_serial_number")
        certificates = []
        for store in stores:
            with suppress(MediaError):
                certificates.append(signing_certificate(store, label))
        if not all(may_sign_claims(one) for one in certificates):
            return _refused(credentials)
        # The certificate that was looked at must be the one that the library has checked.
        prints = {fingerprint(one) for one in certificates if str(one.serial_number) == serial}
        if not prints:
            return _not_looked_at(credentials)
        return _allowed(credentials) if prints <= self._allowed else credentials

    def _with_identities(
        self, credentials: Credentials, report: dict[str, Any], stores: tuple[bytes, ...]
    ) -> Credentials:
        """Say who else signed for it."""
        if not any(name.split("__")[0] == IDENTITY_ASSERTION for name in credentials.assertions):
            return credentials
        codes = {check.code for check in credentials.validation if check.passed}
        stamped = credentials.signed_at if codes & {"timeStamp.trusted"} else ""
        found: list[Identity] = []
        for store in stores:
            with suppress(MediaError):
                found += read_identities(
                    store, report["active_manifest"], anchors=self._identity_anchors, at=_moment(stamped)
                )
        return replace(credentials, identities=tuple(found))


class _Inaccessible(Exception):
    """The manifest is not in the file, and nothing is fetched because a file says so."""


def _faults() -> tuple[type[Exception], ...]:
    """Return what the library and its report may raise on hostile bytes."""
    import c2pa

    return c2pa.C2paError, ValueError, TypeError, AttributeError, KeyError, IndexError, RecursionError


def _held(data: bytes) -> tuple[bytes, ...]:
    try:
        return tuple(extract_stores(data))
    except MediaError:  # a broken container: the library says how
        return ()


def _count(store: bytes) -> int:
    try:
        return count_manifests(store)
    except MediaError:
        return 0


def _moment(stamped: str) -> datetime | None:
    with suppress(ValueError):
        moment = datetime.fromisoformat(stamped) if stamped else None
        return moment if moment is None or moment.tzinfo else moment.replace(tzinfo=UTC)
    return None


def _refused(credentials: Credentials) -> Credentials:
    code = "signingCredential.invalid"
    check = Check(code=code, explanation=explain(code), passed=False)
    return replace(credentials, state="invalid", validation=(check, *credentials.validation))


def _not_looked_at(credentials: Credentials) -> Credentials:
    """A store in a form that is not read here, as a compressed one: no fault, but no trust either."""
    words = "the signer's certificate could not be looked at, so it is not trusted"
    check = Check(code=_UNTRUSTED, explanation=words, passed=False)
    rest = tuple(check for check in credentials.validation if check.code != "signingCredential.trusted")
    return replace(credentials, state="valid", validation=(check, *rest))


def _allowed(credentials: Credentials) -> Credentials:
    if credentials.state == "trusted":
        return credentials
    code = "signingCredential.trusted"
    check = Check(code=code, explanation="the signer is on the list of allowed signers", passed=True)
    rest = tuple(check for check in credentials.validation if check.code != _UNTRUSTED)
    return replace(credentials, state="trusted", validation=(check, *rest))


def _unreadable(code: str, reason: str) -> Credentials:
    check = Check(code=code, explanation=_text(f"{explain(code)}: {reason}"), passed=False)
    return Credentials(state="invalid", validation=(check,))


def _parse(report: dict[str, Any]) -> Credentials:
    label = report.get("active_manifest", "")
    manifests = report.get("manifests", {})
    manifest = manifests.get(label)
    if manifest is None:
        return _unreadable("claim.missing", "no active manifest")
    results = report.get("validation_results", {})
    checks = tuple(_checks(results))
    by_stamps = any(
        row.get("code") == "signingCredential.trusted" and STAMPS_ONLY in (row.get("explanation") or "")
        for row in (results.get("activeManifest") or {}).get("success") or []
    )
    if by_stamps:
        checks = _not_trusted(checks)
    assertions = manifest.get("assertions", [])
    data = [(item.get("label", ""), item.get("data")) for item in assertions[:_MAX_ITEMS]]
    actions = tuple(_actions(data))
    signature = manifest.get("signature_info") or {}
    return Credentials(
        state=_state(report.get("validation_state", ""), checks),
        signer=_text(signature.get("common_name") or signature.get("issuer") or ""),
        issuer=_text(signature.get("issuer") or ""),
        algorithm=_text(signature.get("alg") or ""),
        signed_at=_text(signature.get("time") or ""),
        claim_generator=_generator(manifest),
        digital_source_type=next(
            (action["digital_source_type"] for action in actions if action.get("digital_source_type")), ""
        ),
        actions=actions,
        ingredients=tuple(_ingredient(item) for item in manifest.get("ingredients", [])[:_MAX_ITEMS]),
        validation=checks,
        manifest=_text(label),
        manifests=len(manifests),
        ledger=MappingProxyType(_ledger(data)),
        bindings=tuple(_bindings(data)),
        assertions=tuple(_text(name) for name, _ in data),
    )


def _not_trusted(checks: tuple[Check, ...]) -> tuple[Check, ...]:
    """An authority for time stamps vouches for no signer."""
    kept = tuple(check for check in checks if check.code != "signingCredential.trusted")
    return (Check(code=_UNTRUSTED, explanation=explain(_UNTRUSTED), passed=False), *kept)


def _state(word: str, checks: tuple[Check, ...]) -> str:
    """Judge by the failures, and never call better what the library calls worse."""
    failed = {check.code for check in checks if check.passed is False}
    passed = {check.code for check in checks if check.passed}
    if failed - {_UNTRUSTED} or word not in {"Valid", "Trusted"} or "claimSignature.validated" not in passed:
        return "invalid"
    if word == "Trusted" and _UNTRUSTED not in failed and "signingCredential.trusted" in passed:
        return "trusted"
    return "valid"


def _checks(results: Mapping[str, Any]) -> Iterator[Check]:
    groups = [results.get("activeManifest") or {}]
    groups += [delta.get("validationDeltas") or {} for delta in results.get("ingredientDeltas") or []]
    for name, passed in _GROUPS:
        rows = [row for group in groups for row in group.get(name) or []][:_MAX_ITEMS]
        pairs = [(row.get("code", ""), row.get("explanation") or "") for row in rows]
        for code, words in dict.fromkeys((code, explain(code, said)) for code, said in pairs):
            yield Check(code=_text(code), explanation=_text(words), passed=passed)


def _actions(data: list[tuple[str, Any]]) -> Iterator[dict[str, Any]]:
    for label, body in data:
        if label.split("__")[0] not in {"c2pa.actions", "c2pa.actions.v2"} or not isinstance(body, dict):
            continue
        for action in (body.get("actions") or [])[:_MAX_ITEMS]:
            out: dict[str, Any] = {"action": _text(action.get("action", ""))}
            for key, name in (
                ("digitalSourceType", "digital_source_type"),
                ("description", "description"),
                ("when", "when"),
            ):
                if action.get(key):
                    out[name] = _text(action[key])
            agent = action.get("softwareAgent")
            if isinstance(agent, str):
                out["software_agent"] = {"name": _text(agent)}
            elif isinstance(agent, dict):
                out["software_agent"] = {_text(key): _text(value) for key, value in agent.items()}
            yield out


def _ingredient(item: dict[str, Any]) -> Ingredient:
    return Ingredient(
        title=_text(item.get("title") or ""),
        relationship=_text(item.get("relationship") or ""),
        media_type=_text(item.get("format") or ""),
        state=_ingredient_state(item),
        manifest=_text(item.get("active_manifest") or ""),
    )


def _ingredient_state(item: dict[str, Any]) -> str:
    if not item.get("active_manifest"):
        return "invalid" if item.get("description") == UNREADABLE else "absent"
    checks = tuple(_checks(item.get("validation_results") or {}))
    failed = {check.code for check in checks if check.passed is False}
    if failed - {_UNTRUSTED} or not any(check.code == "claimSignature.validated" for check in checks):
        return "invalid"
    return "valid" if failed else "trusted"


def _ledger(data: list[tuple[str, Any]]) -> dict[str, str]:
    for label, body in data:
        if label == LEDGER_ASSERTION and isinstance(body, dict):
            names = ("event_id", "leaf_hash", "log", "mark_id")
            return {name: _text(body[name]) for name in names if isinstance(body.get(name), str)}
    return {}


def _bindings(data: list[tuple[str, Any]]) -> Iterator[tuple[str, str]]:
    for label, body in data:
        if label.split("__")[0] == "c2pa.soft-binding" and isinstance(body, dict):
            for block in (body.get("blocks") or [])[:_MAX_ITEMS]:
                yield _text(body.get("alg", "")), _text(block.get("value", ""))


def _generator(manifest: dict[str, Any]) -> str:
    infos = manifest.get("claim_generator_info") or []
    if infos:
        return _text(f"{infos[0].get('name', '')} {infos[0].get('version') or ''}".strip())
    return _text(manifest.get("claim_generator") or "")
