"""The values of the register: a dataset, its versions, and what is known about every item."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

__all__ = [
    "CONSENTS",
    "NO_LICENCE",
    "OPT_OUT_STATES",
    "REMOVED",
    "Candidate",
    "Dataset",
    "Fault",
    "Item",
    "Licence",
    "Signal",
    "Use",
    "Version",
]

HELD, QUARANTINED, REMOVED = "held", "quarantined", "removed"

CONSENTS = ("", "given", "refused", "not-needed")
"""What is known of the consent of a creator or a person shown; the empty word is: nothing."""

OPT_OUT_STATES = ("unread", "none", "allowed", "reserved")
"""Nobody looked; looked and found nothing; found a permission; found a reservation (which outweighs all)."""


@dataclass(frozen=True, slots=True)
class Licence:
    """An SPDX licence expression, and the words of the source that it was read from.

    `NOASSERTION` (SPDX 3.0.1, annex on licence expressions) stands where the source says nothing clear.
    """

    spdx: str = "NOASSERTION"
    evidence: str = ""


NO_LICENCE = Licence()


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One statement about mining or training, as it was read.

    `kind` names the protocol, `raw` quotes it, `place` is where it stood (an address, a file, a header).
    `reserved` is True for a reservation against training, False for a permission, None where it says neither.
    `read_us` is when it was read, in microseconds since 1970.
    """

    kind: str
    raw: str
    reserved: bool | None
    place: str = ""
    read_us: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an item is in quarantine: a code to count, and the details of this one."""

    code: str
    detail: str = ""


@dataclass(slots=True, kw_only=True)
class Candidate:
    """One item as an importer found it, before it is looked at.

    `cursor` is where reading goes on after this item; only the importer that wrote it reads it. `load`
    returns the bytes; None means that the source describes the item without holding it. `statement` is the
    licence in the words of the source; `headers` and `robots` are what a crawler kept about its address.
    """

    key: str
    cursor: str
    load: Callable[[], bytes] | None = None
    source: str = ""
    creator: str = ""
    licence: Licence | None = None
    statement: str = ""
    caption: str = ""
    category: str = ""
    acquired: str = ""
    method: str = ""
    sha256: str = ""
    media_type: str = ""
    size: int = 0
    width: int = 0
    height: int = 0
    consent: str = ""
    consent_ref: str = ""
    signals: tuple[Signal, ...] = ()
    signals_read: bool = False
    measures: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    fault: Fault | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One item on record. `number` counts from 1 within its version, in the order of the source.

    `phash` is the 64-bit perceptual hash, `colours` an 8 x 8 RGB thumbnail (192 bytes); both None
    without pixels. `measures` are micro-units by category. `leaf` is the SHA-256 of everything above, hex.
    """

    number: int
    key: str
    state: str
    source: str
    creator: str
    licence: Licence
    caption: str
    category: str
    acquired: str
    method: str
    sha256: str
    phash: int | None
    colours: bytes | None
    media_type: str
    size: int
    width: int
    height: int
    consent: str
    consent_ref: str
    opt_out: str
    measures: Mapping[str, int]
    leaf: str
    fault: Fault | None = None
    removal: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        out: dict[str, Any] = {
            "number": self.number,
            "key": self.key,
            "state": self.state,
            "source": self.source,
            "creator": self.creator,
            "licence": self.licence.spdx,
            "licence_evidence": self.licence.evidence,
            "caption": self.caption,
            "category": self.category,
            "acquired": self.acquired,
            "method": self.method,
            "sha256": self.sha256,
            "phash": "" if self.phash is None else f"{self.phash:016x}",
            "media_type": self.media_type,
            "bytes": self.size,
            "width": self.width,
            "height": self.height,
            "consent": self.consent,
            "consent_ref": self.consent_ref,
            "opt_out": self.opt_out,
        }
        if self.measures:
            out["measures_micro"] = dict(self.measures)
        if self.fault is not None:
            out["quarantine"] = {"code": self.fault.code, "detail": self.fault.detail}
        if self.removal:
            out["removal"] = self.removal
        return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A collection under one name; what is said here holds for all of its versions."""

    name: str
    description: str = ""
    homepage: str = ""
    publisher: str = ""
    created_us: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One import of a dataset. `digest` stands once it is complete: SHA-256 over the leaves of its items.

    `state` is `importing` or `complete`; `read`, `held` and `quarantined` count items; `cursor` is where an
    import that was cut off goes on.
    """

    id: int
    dataset: str
    label: str
    kind: str
    location: str
    fingerprint: str
    method: str
    state: str
    cursor: str
    read: int
    held: int
    quarantined: int
    removed: int
    digest: str
    started_us: int
    finished_us: int | None

    @property
    def name(self) -> str:
        """The dataset and the version as the command line writes them: `dataset@version`."""
        return f"{self.dataset}@{self.label}"

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "dataset": self.dataset,
            "version": self.label,
            "importer": self.kind,
            "location": self.location,
            "method": self.method,
            "state": self.state,
            "items": self.read,
            "held": self.held,
            "quarantined": self.quarantined,
            "removed": self.removed,
            "digest": self.digest or None,
            "started_us": self.started_us,
            "finished_us": self.finished_us,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """Something that was made from a version: a model or an index, with the digest of its bytes."""

    kind: str
    name: str
    digest: str
    version: str
    policy: str = ""
    recorded_us: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "kind": self.kind,
            "name": self.name,
            "digest": self.digest,
            "dataset": self.version,
            "policy": self.policy or None,
            "recorded_us": self.recorded_us,
        }
