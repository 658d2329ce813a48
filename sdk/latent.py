"""Marks in the initial noise: given to generators that we may start, found again by inversion."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core import Asset, LatentMark
from clearmark.core.errors import Error, Unavailable, UsageError
from clearmark.core.pixels import open_image

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL.Image import Image

    from clearmark.generation import LatentGenerator, Noise
    from clearmark.provenance.watermark import Found
    from clearmark.provenance.watermark.latent import Identified

__all__ = ["LatentMarker", "LatentReader", "models_on_record"]

_MOST_MODELS = 8
_MAX_RECORD = 64 * 1024


@dataclass(frozen=True)
class LatentMarker:
    """Gives generators marked noise under `key`; `record` is the file of the models that were given any."""

    key: bytes = field(repr=False)
    record: Path | None = None

    def noise(self, mark_id: str) -> Noise:
        """Return what draws a picture's initial noise so that it holds `mark_id`."""
        import numpy as np

        from clearmark.provenance.watermark.latent import LatentWatermark

        def draw(shape: tuple[int, ...], seed: int) -> Any:
            return LatentWatermark(shape, self.key).noise(mark_id, np.random.default_rng(seed))

        return draw

    def read_back(self, generator: LatentGenerator, asset: Asset, mark_id: str) -> LatentMark | None:
        """Return the mark if it can be told from chance in the picture as it is; None where it cannot.

        Flat pictures keep too little of the noise that they came from: then nothing is said to be there.
        """
        reader = LatentReader(self.key, (generator,))
        found = reader.identify(open_image(asset.data, media_type=asset.media_type), [mark_id])
        if found is None:
            return None
        from clearmark.provenance.watermark.latent import CODEC, VERSION

        return LatentMark(codec=CODEC, codec_version=VERSION, mark_id=mark_id, score=round(found.score, 2))

    def remember(self, generator: LatentGenerator) -> None:
        """Put the model on record, so that pictures can be looked at with it later.

        Raises:
            Unavailable: when the record cannot be written.
        """
        if self.record is None or not generator.spec:
            return
        known = models_on_record(self.record)
        if generator.spec in known:
            return
        text = json.dumps({"schema_version": 1, "models": [*known, generator.spec][-_MOST_MODELS:]})
        draft = self.record.with_name(f".{self.record.name}-{os.getpid()}")
        try:
            draft.write_text(text + "\n", encoding="utf-8")
            draft.replace(self.record)
        except OSError as exc:
            raise Unavailable(f"{self.record}: {exc.strerror}") from exc


class LatentReader:
    """Looks for marks in the noise of pictures, with each of some models run backwards.

    `models` are generators or what `generation.create` makes them from; those of the file `record` are taken
    as well. They are loaded at the first picture. A model that cannot be loaded here is left out: its marks
    are then not found, which proves nothing.
    """

    def __init__(
        self, key: bytes, models: Sequence[str | LatentGenerator] = (), *, record: Path | None = None
    ) -> None:
        self._key = key
        self._record = record
        self._seen: set[str] = set()
        self._models: list[str | LatentGenerator] = list(models)

    def __call__(
        self, picture: Image, candidates: Callable[[], tuple[Sequence[str], Sequence[str]]]
    ) -> Sequence[Found]:
        """Return the mark of `picture`, if it is one of the first `candidates`, or else of the second.

        They are asked for only where there is a model to look with. A picture without a mark is called marked
        once in a million at most, both steps together.
        """
        from clearmark.provenance.watermark import Found
        from clearmark.provenance.watermark.latent import CODEC, FALSE_ALARMS

        estimates = self.estimates(picture)
        for ids in candidates() if estimates else ():
            found = self._identify(estimates, ids, FALSE_ALARMS / 2)
            if found is not None:
                return [Found(codec=CODEC, mark_id=found.mark_id, confidence=found.confidence)]
        return ()

    def identify(self, picture: Image, mark_ids: Sequence[str]) -> Identified | None:
        """Return which of `mark_ids` the picture holds, or None; a false answer comes once in a million."""
        from clearmark.provenance.watermark.latent import FALSE_ALARMS

        return self._identify(self.estimates(picture), mark_ids, FALSE_ALARMS) if mark_ids else None

    def _identify(
        self,
        estimates: Sequence[Sequence[npt.NDArray[np.float32]]],
        mark_ids: Sequence[str],
        false_alarms: float,
    ) -> Identified | None:
        from clearmark.provenance.watermark.latent import LatentWatermark

        # Every model and every size has its part of the budget.
        budget = false_alarms / max(1, sum(map(len, estimates)))
        found = [
            LatentWatermark(noises[0].shape, self._key).identify(
                noises, mark_ids, false_alarms=budget * len(noises)
            )
            for noises in estimates
        ]
        return max((one for one in found if one is not None), key=lambda one: one.score, default=None)

    def estimates(self, picture: Image) -> list[list[npt.NDArray[np.float32]]]:
        """Return the noises that `picture` may have come from, those of one model and shape together.

        The picture is taken to have been of the model's usual size or of its own, and mirrored or not.
        """
        out = []
        for model in self._loaded():
            by_shape: dict[tuple[int, ...], list[npt.NDArray[np.float32]]] = {}
            for scaled in _hypotheses(picture, model.defaults.width, model.defaults.height):
                with contextlib.suppress(UsageError):  # a size that this model does not make
                    noise = model.invert([scaled])[0]
                    by_shape.setdefault(noise.shape, []).append(noise)
            out += list(by_shape.values())
        return out

    def _loaded(self) -> list[LatentGenerator]:
        from clearmark.generation import create

        if self._record is not None:  # it may have grown since
            new = [one for one in models_on_record(self._record) if one not in self._seen]
            self._seen.update(new)
            self._models += new
        out: list[LatentGenerator] = []
        for place, named in enumerate(self._models):
            with contextlib.suppress(Error):
                model: Any = create(named) if isinstance(named, str) else named
                self._models[place] = model
                if model.takes_noise:
                    out.append(model)
        return out


def models_on_record(path: Path) -> tuple[str, ...]:
    """Return the models that made marked noise into pictures; none where the record is missing or broken."""
    try:
        with path.open("rb") as file:
            body = json.loads(file.read(_MAX_RECORD))
    except (OSError, ValueError, RecursionError):
        return ()
    found = body.get("models") if isinstance(body, dict) else None
    return tuple(one for one in found if isinstance(one, str)) if isinstance(found, list) else ()


def _hypotheses(picture: Image, width: int, height: int) -> Sequence[Image]:
    """Return what the picture may have been: of the model's usual size, as it is and mirrored."""
    from PIL import Image as Images
    from PIL import ImageOps

    plain = picture.convert("RGB")
    sizes = {(width, height)}
    if plain.size != (width, height) and _is_offered(plain.size, width, height):
        sizes.add(plain.size)
    scaled = [
        plain if plain.size == size else plain.resize(size, Images.Resampling.BICUBIC) for size in sizes
    ]
    return [*scaled, *(ImageOps.mirror(one) for one in scaled)]


def _is_offered(size: tuple[int, int], width: int, height: int) -> bool:
    """Whether a model of that usual size is likely to have made a picture of `size`."""
    return all(side % 16 == 0 and side >= 64 for side in size) and size[0] * size[1] <= 4 * width * height
