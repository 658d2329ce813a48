"""Marking as a policy asks for it: from the policy's layers and the state folder's keys to a marker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from clearmark.core import Action, Asset, LatentMark, Mark, Request

if TYPE_CHECKING:
    from clearmark.audits import Recorded
    from clearmark.policies import Label, Marking, Policy
    from clearmark.policies.marking import Manifest
    from clearmark.provenance import LabelSettings, Marked, Marker
    from clearmark.provenance.credentials import ManifestSigner, Thumbnails
    from clearmark.provenance.repository import ManifestStore
    from clearmark.provenance.watermark import WatermarkCodec
    from clearmark.sdk.home import Home
    from clearmark.sdk.latent import LatentMarker

__all__ = ["Stamp", "Stamper"]


@dataclass(frozen=True, kw_only=True)
class Stamp:
    """One picture to mark: under which id, let out by which event, and under which action.

    `parents` are the pictures that it was made from beside the request's own, `placed` those that stand in
    it.
    """

    asset: Asset
    mark_id: str
    event: Recorded
    request: Request
    action: Action = Action.ALLOW
    source: str = "created"
    latent: LatentMark | None = None
    parents: tuple[Asset, ...] = ()
    placed: tuple[Asset, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Stamper:
    """Marks pictures as `marking` asks. `signer` and `codec` are None where the policy has no such layer."""

    marking: Marking
    log: str
    signer: ManifestSigner | None
    codec: WatermarkCodec | None
    trust_anchors: bytes | None = None
    repository: ManifestStore | None = None
    latent: LatentMarker | None = None
    _markers: dict[Label | None, Marker] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def from_home(cls, home: Home, policy: Policy) -> Stamper:
        """Read the keys that the policy's layers need.

        Raises:
            KeyUnavailable: one of them cannot be read.
        """
        from clearmark.provenance import ManifestSigner
        from clearmark.provenance.credentials import IdentitySigner
        from clearmark.provenance.repository import open_manifests
        from clearmark.provenance.watermark import get_codec
        from clearmark.sdk.latent import LatentMarker

        marking = policy.marking
        signer = None
        if marking.manifest:
            identity = IdentitySigner.from_pem(*home.identity) if home.identity else None
            signer = ManifestSigner.from_pem(*home.signer, identity=identity)
        return cls(
            marking=marking,
            log=home.ledger_name,
            signer=signer,
            codec=get_codec(marking.watermark.codec, home.watermark_key) if marking.watermark else None,
            trust_anchors=home.trust_anchors,
            repository=open_manifests(home.manifest_store) if signer else None,
            latent=LatentMarker(home.watermark_key, home.latent_models)
            if marking.watermark and marking.watermark.latent
            else None,
        )

    @staticmethod
    def new_mark_id() -> str:
        """Return a mark id that no picture has yet."""
        from clearmark.provenance import new_mark_id

        return new_mark_id()

    def stamp(self, stamps: Sequence[Stamp]) -> list[tuple[Asset, Mark]]:
        """Mark the pictures, in order; none of them when one fails.

        Raises:
            MarkingFailed: as its subclasses say.
        """
        from clearmark.provenance import LedgerRef, MarkJob

        groups: dict[Label | None, list[int]] = {}
        for place, stamp in enumerate(stamps):
            groups.setdefault(self.marking.label_for(stamp.action) or None, []).append(place)
        done: dict[int, tuple[Asset, Mark]] = {}
        for label, places in groups.items():
            jobs = [
                MarkJob(
                    asset=stamp.asset,
                    mark_id=stamp.mark_id,
                    source=stamp.source,
                    request_id=stamp.request.request_id,
                    ledger=LedgerRef(
                        event_id=stamp.event.event_id, leaf_hash=stamp.event.leaf_hash, log=self.log
                    ),
                    latent=stamp.latent,
                    parents=(*_started_from(stamp.request), *stamp.parents),
                    placed=stamp.placed,
                )
                for stamp in (stamps[place] for place in places)
            ]
            for place, marked in zip(places, self._marker(label).mark(jobs), strict=True):
                self._keep(marked)
                done[place] = (marked.asset, marked.mark)
        return [done[place] for place in range(len(stamps))]

    def _keep(self, marked: Marked) -> None:
        mark = marked.mark
        if self.repository is None or mark.manifest is None:
            return
        self.repository.put(
            mark.id,
            mark.manifest.store,
            media_type=marked.asset.media_type,
            fingerprint=marked.fingerprint,
        )

    def close(self) -> None:
        """Close the file of manifests."""
        if self.repository is not None:
            self.repository.close()

    def _marker(self, label: Label | None) -> Marker:
        if label not in self._markers:
            self._markers[label] = self._new_marker(label)
        return self._markers[label]

    def _new_marker(self, label: Label | None) -> Marker:
        from clearmark.provenance import Marker, MetadataSettings

        marking = self.marking
        return Marker(
            signer=self.signer,
            codec=self.codec,
            label=_label_settings(label) if label else None,
            metadata=MetadataSettings(aigc=marking.metadata.aigc) if marking.metadata else None,
            training_mining={"ai_generative_training": marking.manifest.training} if marking.manifest else {},
            trust_anchors_pem=self.trust_anchors,
            thumbnails=_thumbnails(marking.manifest) if marking.manifest else None,
        )


def _thumbnails(manifest: Manifest) -> Thumbnails | None:
    from clearmark.provenance.credentials import Thumbnails

    if not manifest.thumbnail:
        return None
    return Thumbnails(side=manifest.thumbnail, inputs=manifest.input_thumbnails)


def _started_from(request: Request) -> tuple[Asset, ...]:
    return (request.init_image,) if request.init_image else ()


def _label_settings(label: Label) -> LabelSettings:
    from clearmark.provenance import LabelSettings

    return LabelSettings(
        text=label.text, corner=label.position, font=Path(label.font) if label.font else None
    )
