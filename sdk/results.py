"""What a caller gets back: values that say what was decided, what left, and where it stands on record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clearmark.core import Action, Asset, Failure, Finding, Mark, Reason, Verdict
from clearmark.core.errors import Blocked

if TYPE_CHECKING:
    from clearmark.audits import Receipt
    from clearmark.provenance import Verification

__all__ = ["Check", "Marked", "Released", "Result", "Verified", "Withheld"]


@dataclass(frozen=True, kw_only=True)
class Check:
    """What the guards measured on one subject and what the policy makes of it. Nothing is recorded."""

    verdict: Verdict
    scores: Mapping[str, float]
    findings: tuple[Finding, ...]
    failures: tuple[Failure, ...] = ()

    @property
    def action(self) -> Action:
        """What was decided."""
        return self.verdict.action

    @property
    def reasons(self) -> tuple[Reason, ...]:
        """Why."""
        return self.verdict.reasons

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form of the command line, without the subject's name."""
        return {
            "verdict": self.action.word,
            "scores": {category: round(score, 6) for category, score in sorted(self.scores.items())},
            "findings": [finding.to_dict() for finding in self.findings],
            "reasons": [reason.to_dict() for reason in self.reasons],
            **_failures(self.failures),
        }


@dataclass(frozen=True, kw_only=True)
class Released:
    """One picture that left: marked, signed, and on record. `receipt` proves the decision that let it out."""

    asset: Asset
    verdict: Verdict
    findings: tuple[Finding, ...]
    mark: Mark
    receipt: Receipt

    @property
    def data(self) -> bytes:
        """The bytes as signed."""
        return self.asset.data

    @property
    def sha256(self) -> str:
        """Hex SHA-256 of `data`."""
        return self.asset.sha256

    def save(self, path: str | Path) -> Path:
        """Write the bytes as they were signed, and return the path."""
        return self.asset.save(path)

    def image(self) -> Any:
        """Decode and return a `PIL.Image.Image`. Saving that one loses the credentials; `save` keeps them."""
        from clearmark.core.pixels import open_image

        return open_image(self.asset.data, media_type=self.asset.media_type)

    def to_dict(self, *, path: str | None = None) -> dict[str, Any]:
        """Return the JSON form; `path` is where the caller has put the file."""
        return {
            "path": path,
            "sha256": self.asset.sha256,
            "media_type": self.asset.media_type,
            "width": self.asset.width,
            "height": self.asset.height,
            "seed": self.asset.origin.seed if self.asset.origin else None,
            "verdict": self.verdict.action.word,
            "findings": [finding.to_dict() for finding in self.findings],
            "mark": self.mark.to_dict(),
            "receipt": receipt_summary(self.receipt),
        }


@dataclass(frozen=True, kw_only=True)
class Withheld:
    """One picture that was made and did not leave: no bytes, only the verdict and what was seen.

    `review` is the id under which it waits for people, empty where it does not.
    """

    index: int
    verdict: Verdict
    findings: tuple[Finding, ...]
    review: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "index": self.index,
            "verdict": self.verdict.action.word,
            "findings": [finding.to_dict() for finding in self.findings],
            "reasons": [reason.to_dict() for reason in self.verdict.reasons],
            **({"review": self.review} if self.review else {}),
        }


@dataclass(frozen=True, kw_only=True)
class Result:
    """The outcome of one request. A refusal is a result too: `assets` is empty and `reasons` say why.

    `verdict` is the strongest action over the pictures that left, or over everything when none did.
    `receipt` proves the last event of the request. `reviews` are the ids under which the request, or pictures
    of it, wait for people.
    """

    request_id: str
    verdict: Action
    reasons: tuple[Reason, ...]
    findings: tuple[Finding, ...]
    receipt: Receipt
    assets: tuple[Released, ...] = ()
    withheld: tuple[Withheld, ...] = ()
    failures: tuple[Failure, ...] = ()
    blocked_by_failure: bool = False
    reviews: tuple[str, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=lambda: MappingProxyType({}))

    def raise_for_verdict(self) -> Result:
        """Raise `Blocked` when nothing left; return self otherwise."""
        if not self.assets:
            words = "; ".join(reason.message for reason in self.reasons) or "nothing was released"
            raise Blocked(f"{self.verdict.word}: {words}", hint=f"request {self.request_id} is on record")
        return self

    def to_dict(self, *, paths: tuple[str | None, ...] = ()) -> dict[str, Any]:
        """Return the JSON form of the command line; `paths` are the files that the caller has written."""
        places = paths or (None,) * len(self.assets)
        return {
            "request_id": self.request_id,
            "verdict": self.verdict.word,
            "reasons": [reason.to_dict() for reason in self.reasons],
            "findings": [finding.to_dict() for finding in self.findings],
            "assets": [asset.to_dict(path=path) for asset, path in zip(self.assets, places, strict=True)],
            "withheld": [picture.to_dict() for picture in self.withheld],
            "receipt": receipt_summary(self.receipt),
            "timings_ms": {stage: round(ms, 3) for stage, ms in self.timings_ms.items()},
            **({"reviews": list(self.reviews)} if self.reviews else {}),
            **_failures(self.failures),
        }


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A picture that was brought in and marked."""

    asset: Asset
    mark: Mark
    receipt: Receipt

    def to_dict(self, *, path: str | None = None, out: str | None = None) -> dict[str, Any]:
        """Return the JSON form."""
        watermark = self.mark.watermark
        return {
            "path": path,
            "out": out,
            "mark": self.mark.to_dict(),
            "psnr_db": round(watermark.psnr_db, 2) if watermark else None,
            "ssim": round(watermark.ssim, 4) if watermark else None,
            "receipt": receipt_summary(self.receipt),
        }


@dataclass(frozen=True, kw_only=True)
class Verified:
    """What a file tells about itself, what the ledger knows of it, and the conclusion in words."""

    verification: Verification
    ledger: Mapping[str, Any]
    conclusion: str
    exit_code: int

    def to_dict(self, *, path: str | None = None) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "path": path,
            "conclusion": self.conclusion,
            **self.verification.to_dict(),
            "ledger": dict(self.ledger),
        }


def receipt_summary(receipt: Receipt) -> dict[str, Any]:
    """Return the four figures by which a receipt is found again."""
    return {
        "event_id": receipt.event_id,
        "seq": receipt.seq,
        "tree_size": receipt.tree_size,
        "root": receipt.root,
    }


def _failures(failures: tuple[Failure, ...]) -> dict[str, Any]:
    if not failures:
        return {}
    return {
        "failures": [
            {"guard": f.guard, "error": f.error, "message": f.message, "categories": list(f.categories)}
            for f in failures
        ]
    }
