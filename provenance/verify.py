"""Read every layer of a picture back, and say in words what is known and what is not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clearmark.core.assets import Asset
from clearmark.core.errors import MediaError, UsageError
from clearmark.core.parts import check_parts
from clearmark.core.pixels import MAX_BYTES
from clearmark.provenance._conclusions import conclude
from clearmark.provenance._media import PICTURES, media_type_of
from clearmark.provenance._pictures import MEDIA_TYPES, open_for_reading, rgb_pixels
from clearmark.provenance.credentials.reader import ABSENT, CredentialReader, Credentials
from clearmark.provenance.credentials.store import strip_store
from clearmark.provenance.fingerprints import image_code
from clearmark.provenance.ids import is_mark_id
from clearmark.provenance.marking import soft_binding_alg
from clearmark.provenance.metadata import read_metadata
from clearmark.provenance.repository import ManifestSources
from clearmark.provenance.watermark.codec import MIN_SIDE

if TYPE_CHECKING:
    from PIL.Image import Image

    from clearmark.provenance._pictures import Pixels
    from clearmark.provenance.repository import KeptManifest, ManifestSource
    from clearmark.provenance.watermark import Found

    Extract = Callable[[Pixels], Sequence[Found]]
    ByContent = Callable[[bytes], Sequence[KeptManifest]]
    Candidates = Callable[[], tuple[Sequence[str], Sequence[str]]]
    InNoise = Callable[[Image, Candidates], Sequence[Found]]

__all__ = ["Recovered", "Verification", "Verifier", "conclude"]

_CONTENT_CHANGED = {
    "assertion.bmffHash.mismatch",
    "assertion.boxesHash.mismatch",
    "assertion.dataHash.mismatch",
}
_ALIKE = 16
"""Bits in which the fingerprint of a picture may differ from one whose mark is looked for in its noise."""

_MOST_ALIKE = 16
_MOST_OTHERS = 10_000
_NO_METADATA: Mapping[str, Mapping[str, str] | None] = MappingProxyType({"iptc": None, "aigc": None})


@dataclass(frozen=True, kw_only=True)
class Recovered:
    """A stored manifest that a picture without one was led back to.

    `via` says how: `watermark`, which is in the pixels; `fingerprint`, which says only that they look alike;
    or `service`, which was sent the picture and says that they belong together. `credentials` are the stored
    manifest's, read against the picture as it is now: that its pixels have changed is no fault of theirs, so
    `signer_state` says what the signature itself is worth: `trusted`, `valid` or `invalid`.
    """

    mark_id: str
    via: str
    credentials: Credentials
    distance: int | None = None

    @property
    def signer_state(self) -> str:
        """What the manifest is worth, the hash of the content left aside."""
        codes = {check.code for check in self.credentials.failures}
        passed = {check.code for check in self.credentials.validation if check.passed}
        if codes - _CONTENT_CHANGED or "claimSignature.validated" not in passed:
            return "invalid"
        return "trusted" if "signingCredential.trusted" in passed else "valid"

    @property
    def unchanged(self) -> bool:
        """Whether the picture is, byte for byte, the one that was signed."""
        return self.credentials.state in {"trusted", "valid"}

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "mark_id": self.mark_id,
            "via": self.via,
            "distance": self.distance,
            "signer_state": self.signer_state,
            "unchanged": self.unchanged,
            "credentials": self.credentials.to_dict(),
        }


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What one file carries.

    `fingerprint` is the picture's ISCC as it is now. `problem` says why its picture could not be opened.
    `contradictions` are statements of intact layers that exclude each other.
    """

    credentials: Credentials
    watermarks: tuple[Found, ...] = ()
    metadata: Mapping[str, Mapping[str, str] | None] = field(default_factory=lambda: _NO_METADATA)
    media_type: str = ""
    width: int = 0
    height: int = 0
    fingerprint: str = ""
    problem: str = ""
    recovered: Recovered | None = None

    @property
    def watermark(self) -> Found | None:
        """The mark that is read most clearly."""
        return max(self.watermarks, key=lambda found: found.confidence, default=None)

    @property
    def mark_ids(self) -> tuple[str, ...]:
        """Every mark id that a layer names, the most reliable first: the ledger can be asked for each."""
        named = [self.credentials.mark_id, *(value for _, value in self.credentials.bindings)]
        named += [found.mark_id for found in self.watermarks]
        named.append((self.metadata.get("aigc") or {}).get("ProduceID", ""))
        return tuple(dict.fromkeys(name for name in named if is_mark_id(name)))

    @property
    def bound_mark_ids(self) -> frozenset[str]:
        """The mark ids that something ties to this picture: its pixels, or a manifest of a trusted signer.

        Metadata can be copied onto any picture, and anybody can sign with a certificate of one's own.
        """
        named = {found.mark_id for found in self.watermarks}
        if self.credentials.state == "trusted":
            named |= {self.credentials.mark_id, *(value for _, value in self.credentials.bindings)}
        return frozenset(name for name in named if is_mark_id(name))

    @property
    def contradictions(self) -> tuple[str, ...]:
        """An intact manifest names a watermark, and the pixels carry another one of the same kind."""
        if self.credentials.state not in {"trusted", "valid"}:
            return ()
        found = {(soft_binding_alg(mark.codec), mark.mark_id) for mark in self.watermarks}
        kinds = {alg for alg, _ in found}
        return tuple(
            f"the manifest names the watermark {value}, the pixels carry another"
            for alg, value in self.credentials.bindings
            if alg in kinds and (alg, value) not in found
        )

    @property
    def is_empty(self) -> bool:
        """Whether no layer was found at all."""
        return self.credentials.state == "absent" and not self.watermarks and not any(self.metadata.values())

    @property
    def exit_code(self) -> int:
        """0: found, and nothing is wrong. 2: not a picture. 4: invalid or tampered. 5: nothing found."""
        if self.credentials.state == "invalid" or self.contradictions:
            return 4
        if self.problem:
            return 2
        return 5 if self.is_empty else 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        best = self.watermark
        return {
            "media_type": self.media_type or None,
            "width": self.width,
            "height": self.height,
            "problem": self.problem or None,
            "fingerprint": self.fingerprint or None,
            "contradictions": list(self.contradictions),
            "mark_ids": list(self.mark_ids),
            "credentials": self.credentials.to_dict(),
            "watermark": {
                "state": "found" if best else "absent",
                "codec": best.codec if best else None,
                "mark_id": best.mark_id if best else None,
                "confidence": round(best.confidence, 4) if best else None,
            },
            "metadata": {name: dict(values) if values else None for name, values in self.metadata.items()},
            "recovered": self.recovered.to_dict() if self.recovered else None,
        }


class Verifier:
    """Verifies files against the signers that `trust_anchors_pem` vouches for; None trusts nobody.

    `timestamp_anchors_pem` are authorities that may vouch for time stamps only, `allowed_signers_pem` single
    signers that are trusted by themselves. `keys` are the watermark keys to try. `extract` replaces the
    watermark reader (by default every codec of this installation). `repository` is where the manifest of a
    picture that lost its own is looked for: a `ManifestRepository`, or a `ResolutionClient` of somebody's.
    `in_noise` looks for marks in the noise that a picture was made from, where its pixels hold none: it is
    given the picture, and what returns the mark ids that its other layers or its looks suggest, and others on
    record.
    `by_content` asks a service that reads marks which are not read here; it is sent the file, when all else
    led nowhere. `ask_revocation` and `identity_anchors_pem` are as for `CredentialReader`.

    Raises:
        UsageError: a trust list without a readable certificate.
    """

    def __init__(
        self,
        trust_anchors_pem: bytes | None = None,
        *,
        timestamp_anchors_pem: bytes | None = None,
        allowed_signers_pem: bytes | None = None,
        keys: Sequence[bytes] = (),
        extract: Extract | None = None,
        repository: ManifestSource | None = None,
        in_noise: InNoise | None = None,
        by_content: ByContent | None = None,
        ask_revocation: bool = False,
        identity_anchors_pem: bytes | None = None,
    ) -> None:
        self._by_content = by_content
        self._in_noise = in_noise
        self._reader = CredentialReader(
            trust_anchors_pem,
            timestamp_anchors_pem=timestamp_anchors_pem,
            allowed_signers_pem=allowed_signers_pem,
            ask_revocation=ask_revocation,
            identity_anchors_pem=identity_anchors_pem,
        )
        self._keys = tuple(keys)
        self._repository = repository
        self._extract = extract or self._extract_any

    def verify(self, assets_or_bytes: Sequence[Asset | bytes]) -> list[Verification]:
        """Read every layer of each file, in order.

        Never raises for what a file holds: bytes that are no picture come back with a `problem`.
        """
        files = [item.data if isinstance(item, Asset) else bytes(item) for item in assets_or_bytes]
        return [self._with_recovered(self._one(data), data) for data in files]

    def _one(self, data: bytes) -> Verification:
        try:
            media_type = media_type_of(data)
        except MediaError as exc:
            return Verification(credentials=ABSENT, problem=str(exc))
        if len(data) > MAX_BYTES:
            problem = f"{len(data):,} bytes; at most {MAX_BYTES:,} are read"
            return Verification(credentials=ABSENT, media_type=media_type, problem=problem)
        read = Verification(
            credentials=self._reader.read(data, media_type),
            metadata=_metadata(data),
            media_type=media_type,
        )
        if media_type not in PICTURES and media_type not in MEDIA_TYPES:
            return read  # no pixels that a watermark could be in
        try:
            check_parts(data, media_type)
            picture = open_for_reading(data)
        except MediaError as exc:
            # The file is broken; unless a manifest was found, whether it had one is not known.
            credentials = read.credentials if read.credentials.manifest else ABSENT
            return replace(read, credentials=credentials, problem=str(exc))
        pixels = rgb_pixels(picture)
        read = replace(
            read,
            fingerprint=image_code(picture),
            watermarks=tuple(self._extract(pixels)),
            width=pixels.shape[1],
            height=pixels.shape[0],
        )
        return replace(read, watermarks=read.watermarks or self._noise_marks(read, picture))

    def _noise_marks(self, read: Verification, picture: Image) -> tuple[Found, ...]:
        if self._in_noise is None or min(picture.size) < MIN_SIDE:
            return ()
        return tuple(self._in_noise(picture, lambda: self._candidates(read)))

    def _candidates(self, read: Verification) -> tuple[list[str], list[str]]:
        """Return the mark ids that a picture's other layers or looks suggest, and others on record."""
        named = dict.fromkeys(read.mark_ids)
        if self._repository is None:
            return list(named), []
        alike = self._repository.find(read.fingerprint, max_distance=_ALIKE, limit=_MOST_ALIKE)
        named |= dict.fromkeys(kept.mark_id for kept in alike if is_mark_id(kept.mark_id))
        return list(named), [one for one in self._repository.newest(_MOST_OTHERS) if one not in named]

    def _with_recovered(self, found: Verification, data: bytes) -> Verification:
        """Look for the stored manifest of a picture that has none of its own, or a broken one."""
        if found.problem or found.credentials.state in {"trusted", "valid"}:
            return found
        repository = self._repository or ManifestSources()
        for mark in sorted(found.watermarks, key=lambda one: -one.confidence):
            kept = repository.get(mark.mark_id)
            if kept is not None:
                return replace(found, recovered=self._recovered(kept, "watermark", found, data))
        for kept in repository.find(found.fingerprint, limit=1) if found.fingerprint else ():
            return replace(found, recovered=self._recovered(kept, "fingerprint", found, data))
        for kept in self._by_content(data) if self._by_content is not None else ():
            return replace(found, recovered=self._recovered(kept, "service", found, data))
        return found

    def _recovered(self, kept: KeptManifest, via: str, found: Verification, data: bytes) -> Recovered:
        bare = data
        if found.credentials.state == "invalid":
            with suppress(MediaError):
                bare = strip_store(data)
        credentials = self._reader.read(bare, found.media_type, store=kept.store)
        return Recovered(mark_id=kept.mark_id, via=via, credentials=credentials, distance=kept.distance)

    def _extract_any(self, pixels: Pixels) -> Sequence[Found]:
        from clearmark.provenance.watermark import extract_any

        try:
            return extract_any(pixels, keys=self._keys)
        except UsageError:  # a picture of a size that no codec marks carries no mark
            return ()


def _metadata(data: bytes) -> Mapping[str, Mapping[str, str] | None]:
    try:
        return read_metadata(data)
    except MediaError:
        return _NO_METADATA
