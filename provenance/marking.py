"""Mark pictures: label, watermark, metadata, manifest. Nothing that lacks a layer comes back.

The order is not a matter of taste. The label is drawn first, so that the watermark covers it. The picture is
encoded after the watermark, its metadata are written into that file, and the manifest is signed last, because
it binds every byte of it. What comes out is then opened anew and every layer is read back.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

from clearmark.core.assets import Asset, Origin
from clearmark.core.errors import (
    LabelFailed,
    MarkingFailed,
    MediaError,
    MetadataFailed,
    SigningFailed,
    UsageError,
    WatermarkFailed,
)
from clearmark.core.marks import LabelMark, LatentMark, ManifestMark, Mark, MetadataMark, WatermarkMark
from clearmark.core.pixels import open_image
from clearmark.provenance._containers import set_xmp
from clearmark.provenance._pictures import Encoding, Opened, encode, open_for_marking, rgb_pixels, with_pixels
from clearmark.provenance._sources import source_type_uri
from clearmark.provenance.credentials import (
    CredentialReader,
    LedgerRef,
    ManifestSigner,
    ManifestSpec,
    SoftBinding,
    Thumbnails,
)
from clearmark.provenance.fingerprints import ISCC_ALG, image_code
from clearmark.provenance.ids import is_mark_id
from clearmark.provenance.labels import LabelSettings, draw_label
from clearmark.provenance.metadata import MetadataSettings, read_metadata, write_metadata

if TYPE_CHECKING:
    from PIL.Image import Image

    from clearmark.provenance.watermark import Embedded, WatermarkCodec

__all__ = ["MarkJob", "Marked", "Marker", "soft_binding_alg"]

_LABEL_DRIFT = 24.0
"""Most that a label's box may differ on average after encoding, in grey levels."""


@dataclass(frozen=True, kw_only=True)
class MarkJob:
    """One picture to mark.

    `source`: `created` by a generator, or `altered` from another picture. `parents` are the pictures that it
    was made from, with whatever credentials they carry; `placed` those that stand in it, as in a composition,
    which is `altered`. `origin` defaults to the asset's own. `latent` is the
    mark in the initial noise that was found in the picture, for the manifest to name.
    """

    asset: Asset
    mark_id: str
    source: str = "created"
    request_id: str = ""
    ledger: LedgerRef | None = None
    origin: Origin | None = None
    parents: tuple[Asset, ...] = ()
    placed: tuple[Asset, ...] = ()
    latent: LatentMark | None = None

    def __post_init__(self) -> None:
        if not is_mark_id(self.mark_id):
            raise UsageError(f"a mark id is 16 lower-case hex digits, not {self.mark_id[:32]!r}")
        source_type_uri(self.source)
        if self.placed and self.source == "created":
            raise UsageError("a picture with others in it was not made by a model alone", hint="altered")


@dataclass(frozen=True, kw_only=True)
class Marked:
    """A picture with all its layers, read back; and what the layers are. `fingerprint` is its ISCC."""

    asset: Asset
    mark: Mark
    fingerprint: str = ""


@dataclass(frozen=True, kw_only=True)
class _Step:
    """One picture on its way. Each step returns the next one."""

    job: MarkJob
    opened: Opened
    picture: Image
    label: LabelMark | None = None
    watermark: WatermarkMark | None = None
    metadata: MetadataMark | None = None
    manifest: ManifestMark | None = None
    data: bytes = field(default=b"", repr=False)
    media_type: str = ""
    fingerprint: str = ""


class Marker:
    """Marks batches of pictures with the layers that are given; None leaves a layer out.

    `trust_anchors_pem` decides what the ingredients' own credentials are called. `training_mining` is stated
    in the manifest (`ai_generative_training: notAllowed`, and so on). `fingerprint` puts the picture's ISCC
    into the manifest, a second way back to it. `thumbnails` says which small pictures the manifest gets.
    """

    def __init__(
        self,
        *,
        signer: ManifestSigner | None = None,
        codec: WatermarkCodec | None = None,
        label: LabelSettings | None = None,
        metadata: MetadataSettings | None = None,
        encoding: Encoding | None = None,
        training_mining: Mapping[str, str] = MappingProxyType({}),
        fingerprint: bool = True,
        trust_anchors_pem: bytes | None = None,
        thumbnails: Thumbnails | None = None,
    ) -> None:
        self._thumbnails = thumbnails
        self._signer = signer
        self._codec = codec
        self._label = label
        self._metadata = metadata
        self._encoding = encoding or Encoding()
        self._training_mining = training_mining
        self._fingerprint = fingerprint
        self._anchors = trust_anchors_pem
        self._reader = CredentialReader(trust_anchors_pem)

    def mark(self, jobs: Sequence[MarkJob]) -> list[Marked]:
        """Return every job's picture marked, in order; none of them when one fails.

        Raises:
            LabelFailed, WatermarkFailed, MetadataFailed, SigningFailed: the layer that could not be written
                or did not read back.
            MarkingFailed: a picture that cannot be opened or encoded.
        """
        steps = [self._labelled(job) for job in jobs]
        steps = self._watermarked(steps)
        return [self._finished(step) for step in steps]

    def _labelled(self, job: MarkJob) -> _Step:
        try:
            opened = open_for_marking(job.asset.data)
        except MediaError as exc:
            raise MarkingFailed(f"cannot be marked: {exc}", hint=exc.hint) from exc
        if self._label is None:
            return _Step(job=job, opened=opened, picture=opened.picture)
        picture, label = draw_label(opened.picture, self._label)
        return _Step(job=job, opened=opened, picture=picture, label=label)

    def _watermarked(self, steps: list[_Step]) -> list[_Step]:
        codec = self._codec
        if codec is None or not steps:
            return steps
        results = _embed(codec, steps)
        return [
            replace(
                step,
                picture=with_pixels(step.picture, result.pixels),
                watermark=WatermarkMark(
                    codec=codec.name,
                    codec_version=codec.version,
                    mark_id=step.job.mark_id,
                    psnr_db=result.psnr_db,
                    ssim=result.ssim,
                ),
            )
            for step, result in zip(steps, results, strict=True)
        ]

    def _finished(self, step: _Step) -> Marked:
        step = self._signed(self._described(self._encoded(step)))
        self._read_back(step)
        asset = Asset(
            data=step.data,
            media_type=step.media_type,
            width=step.picture.width,
            height=step.picture.height,
            origin=step.job.origin or step.job.asset.origin,
        )
        mark = Mark(
            id=step.job.mark_id,
            label=step.label,
            metadata=step.metadata,
            watermark=step.watermark,
            manifest=step.manifest,
            latent=step.job.latent,
        )
        return Marked(asset=asset, mark=mark, fingerprint=step.fingerprint)

    def _encoded(self, step: _Step) -> _Step:
        try:
            data, media_type = encode(step.opened, step.picture, self._encoding)
        except (OSError, ValueError) as exc:
            raise MarkingFailed(f"the picture could not be encoded: {exc}") from exc
        return replace(step, data=data, media_type=media_type)

    def _described(self, step: _Step) -> _Step:
        fields: dict[str, dict[str, str]] = {}
        if self._metadata is not None:
            fields = self._metadata.fields(
                mark_id=step.job.mark_id,
                source=step.job.source,
                origin=step.job.origin or step.job.asset.origin,
            )
        if fields:
            data, mark = write_metadata(step.data, fields, base=step.opened.xmp or b"")
            return replace(step, data=data, metadata=mark)
        if step.opened.xmp is not None:
            return replace(step, data=set_xmp(step.data, step.opened.xmp))
        return step

    def _signed(self, step: _Step) -> _Step:
        if self._signer is None:
            return step
        if self._fingerprint:
            step = replace(step, fingerprint=image_code(step.picture))
        signed = self._signer.sign(
            step.data, step.media_type, self._spec(step), trust_anchors_pem=self._anchors
        )
        return replace(step, data=signed.data, manifest=signed.mark)

    def _spec(self, step: _Step) -> ManifestSpec:
        job = step.job
        parent, inputs = self._ingredients(job)
        bindings: list[SoftBinding] = []
        if step.watermark is not None:
            alg = soft_binding_alg(step.watermark.codec)
            bindings.append(SoftBinding(alg=alg, value=job.mark_id))
        if job.latent is not None:
            bindings.append(SoftBinding(alg=soft_binding_alg(job.latent.codec), value=job.mark_id))
        if self._fingerprint:
            bindings.append(SoftBinding(alg=ISCC_ALG, value=step.fingerprint, watermark=False))
        return ManifestSpec(
            mark_id=job.mark_id,
            source=job.source,
            origin=job.origin or job.asset.origin,
            ledger=job.ledger,
            bindings=tuple(bindings),
            label_text=step.label.text if step.label else "",
            parent=parent,
            inputs=inputs,
            placed=job.placed,
            thumbnails=self._thumbnails,
            training_mining=self._training_mining,
        )

    def _ingredients(self, job: MarkJob) -> tuple[Asset | None, tuple[Asset, ...]]:
        """Say what was opened and what went in. Credentials that the picture has are never dropped."""
        if self._reader.read(job.asset.data, job.asset.media_type).state != "absent":
            return job.asset, job.parents
        if job.parents:
            return job.parents[0], job.parents[1:]
        # A composition is begun anew: what it was made from stands in it.
        return (job.asset if job.source == "altered" and not job.placed else None), ()

    def _read_back(self, step: _Step) -> None:
        """Open what was written as a stranger would, and find every layer in it.

        Raises:
            MarkingFailed: one of its kinds, naming the layer that is not there.
        """
        try:
            picture = open_image(step.data, media_type=step.media_type)
            found = read_metadata(step.data)
        except MediaError as exc:
            raise MarkingFailed(f"what was written does not open: {exc}") from exc
        if picture.size != step.picture.size:
            raise MarkingFailed("what was written has another size")
        if step.label is not None:
            _check_label(step, picture)
        if step.watermark is not None and self._codec is not None:
            read = self._codec.extract([rgb_pixels(picture)])[0]
            if read is None or read.mark_id != step.job.mark_id:
                raise WatermarkFailed(
                    "the watermark does not read back from the encoded picture",
                    hint="encode with a higher quality, or as PNG",
                )
        if step.metadata is not None:
            for standard, values in step.metadata.fields.items():
                if not dict(values).items() <= (found.get(standard) or {}).items():
                    raise MetadataFailed(f"the {standard} fields do not read back")
        if step.manifest is not None:
            credentials = self._reader.read(step.data, step.media_type)
            if credentials.state not in {"valid", "trusted"} or credentials.manifest != step.manifest.label:
                raise SigningFailed("the manifest does not read back from the finished picture")


def soft_binding_alg(codec: str) -> str:
    """Return the soft binding algorithm that a manifest names for a watermark codec."""
    return f"io.clearmark.{codec.replace(':', '.')}"


def _embed(codec: WatermarkCodec, steps: Sequence[_Step]) -> list[Embedded]:
    return codec.embed([rgb_pixels(step.picture) for step in steps], [step.job.mark_id for step in steps])


def _check_label(step: _Step, picture: Image) -> None:
    import numpy as np

    assert step.label is not None
    box = step.label.box
    area = (box.x, box.y, box.x + box.width, box.y + box.height)
    wanted = rgb_pixels(step.picture.crop(area)).astype(np.int16)
    if np.abs(rgb_pixels(picture.crop(area)).astype(np.int16) - wanted).mean() > _LABEL_DRIFT:
        raise LabelFailed("the visible label does not read back from the encoded picture")
