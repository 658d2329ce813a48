"""Nudity in pictures, by Yahoo's OpenNSFW (a ResNet-50 in ONNX).

The network was trained on pictures squeezed to 256 x 256 and cropped to the middle 224, compressed as JPEG,
blue first, mean subtracted (https://github.com/yahoo/open_nsfw). It must see the same here.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clearmark.core import Finding, Stage, Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails._media import pixels_of, unavailable
from clearmark.guardrails.models import entry
from clearmark.guardrails.output._change import skin_map
from clearmark.guardrails.output._look import look_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["DOUBT", "NudityGuard", "pixels_for_network"]

DOUBT = 0.25
"""The score of what a person should look at: a part that is worse than the whole, or a painted nude."""

_THRESHOLD = 0.5
_LOOK_CLOSER = 0.02  # below, the whole leaves no doubt
_WINDOW, _SMALLEST = 0.6, 160
_MUCH_SKIN, _SOME_SKIN = 0.30, 0.20
_PART, _PAINTED = 0.8, 0.15
_MAX_BATCH = 16
_THREADS = 2

_lock = threading.Lock()
_session: Any = None


class NudityGuard:
    """Scores `sexual` by the whole picture's looks, and holds what the whole hides for a person.

    Where the whole picture leaves doubt and a part of it is mostly skin, the part is looked at as well; and
    paintings, which the network underrates, have a band of their own. Both only lift a score to `DOUBT`.
    """

    name = "nudity"
    version = "2"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})
    categories: tuple[str, ...] = ("sexual",)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one `sexual` finding per picture.

        Raises:
            GuardUnavailable: when the weights are missing or altered, or a picture cannot be read.
        """
        began = time.perf_counter()
        model = entry("opennsfw")
        session = _open()
        pictures = [pixels_of(self.name, subject) for subject in batch]
        whole = _scores(session, pictures)
        with unavailable(self.name, "looking at a picture"):
            skins = [skin_map(rgb) for rgb in pictures]
            parts = [
                _parts(rgb, skin) if _LOOK_CLOSER <= score < _THRESHOLD else []
                for rgb, skin, score in zip(pictures, skins, whole, strict=True)
            ]
        tiles = iter(_scores(session, [part for some in parts for part in some]))
        found = []
        for rgb, skin, score, some in zip(pictures, skins, whole, parts, strict=True):
            tile = max((next(tiles) for _ in some), default=0.0)
            found.append(_Seen(score, tile, float(skin.mean()), _is_painted(rgb, skin, max(score, tile))))
        ms = (time.perf_counter() - began) * 1000 / max(1, len(batch))
        return [[self._finding(seen, model.ref, ms)] for seen in found]

    def _finding(self, seen: _Seen, model: str, ms: float) -> Finding:
        score = max(seen.whole, DOUBT) if seen.unsure else seen.whole
        return Finding(
            category="sexual",
            score=min(1.0, max(0.0, score)),
            guard=self.name,
            guard_version=self.version,
            model=model,
            threshold=_THRESHOLD,
            facts=MappingProxyType(
                {
                    "nudity_score": round(seen.whole, 6),
                    "nudity_part": round(seen.tile, 6),
                    "skin_share": round(seen.skin, 4),
                    "nudity_painted": seen.painted,
                    "nudity_unsure": seen.unsure,
                }
            ),
            ms=ms,
        )


@dataclass(frozen=True, slots=True)
class _Seen:
    """Scores of the whole and of its worst part, the share of skin, and whether it falls into the band."""

    whole: float
    tile: float
    skin: float
    painted: bool

    @property
    def unsure(self) -> bool:
        return self.whole < _THRESHOLD and (self.painted or self.tile >= _PART)


def _scores(session: Any, pictures: Sequence[NDArray[np.uint8]]) -> list[float]:
    import numpy as np

    out: list[float] = []
    for first in range(0, len(pictures), _MAX_BATCH):
        pixels = np.stack([_prepare(rgb) for rgb in pictures[first : first + _MAX_BATCH]])
        out.extend(_run(session, pixels))
    return out


def _parts(rgb: NDArray[np.uint8], skin: NDArray[np.bool_]) -> list[NDArray[np.uint8]]:
    """Return those of five windows (corners and middle) of a picture that are skin to a large part."""
    height, width = rgb.shape[:2]
    if min(height, width) < _SMALLEST:
        return []
    rest = 1 - _WINDOW
    out = []
    for down, across in ((0, 0), (0, rest), (rest, 0), (rest, rest), (rest / 2, rest / 2)):
        rows, columns = (
            slice(int(start * skin.shape[axis]), int((start + _WINDOW) * skin.shape[axis]))
            for axis, start in enumerate((down, across))
        )
        if skin[rows, columns].mean() >= _MUCH_SKIN:
            top, left = int(down * height), int(across * width)
            out.append(rgb[top : top + int(_WINDOW * height), left : left + int(_WINDOW * width)])
    return out


def _is_painted(rgb: NDArray[np.uint8], skin: NDArray[np.bool_], score: float) -> bool:
    """Whether it is no photograph, has some skin, and the network sees a little of what it looks for."""
    if not score >= _PAINTED or skin.mean() < _SOME_SKIN:
        return False
    return not look_of(rgb).photorealistic


def pixels_for_network(picture: Image) -> NDArray[np.float32]:
    """Return an RGB picture as the network's input: float32 [224, 224, 3], blue first, mean subtracted."""
    import numpy as np
    import PIL.Image

    square = picture.resize((256, 256), PIL.Image.Resampling.BILINEAR).crop((16, 16, 240, 240))
    with io.BytesIO() as buffer:
        square.save(buffer, "JPEG")
        rgb = np.asarray(PIL.Image.open(buffer), dtype=np.float32)
    return np.ascontiguousarray(rgb[:, :, ::-1] - np.array([104, 117, 123], dtype=np.float32))


def _prepare(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    import PIL.Image

    with unavailable("nudity", "reading a picture"):
        return pixels_for_network(PIL.Image.fromarray(rgb))


def _open() -> Any:
    """Return the session that all guards and threads share, after checking the weights."""
    global _session  # noqa: PLW0603  one session: 24 MB of weights and its threads
    with _lock:
        try:
            path = entry("opennsfw").verify()["open-nsfw.onnx"]
        except Error as exc:
            _session = None
            raise GuardUnavailable(f"nudity: {exc.message}", hint=exc.hint) from exc
        if _session is None:
            try:
                import onnxruntime

                options = onnxruntime.SessionOptions()
                options.intra_op_num_threads = _THREADS
                options.inter_op_num_threads = 1
                # Threads that wait by spinning take the core from the guards that run beside.
                options.add_session_config_entry("session.intra_op.allow_spinning", "0")
                options.log_severity_level = 3
                _session = onnxruntime.InferenceSession(
                    str(path), sess_options=options, providers=["CPUExecutionProvider"]
                )
            except Exception as exc:  # the runtime raises its own types
                raise GuardUnavailable(f"nudity: the ONNX runtime fails: {type(exc).__name__}") from exc
        return _session


def _run(session: Any, pixels: NDArray[np.float32]) -> list[float]:
    try:
        (out,) = session.run(None, {session.get_inputs()[0].name: pixels})
    except Exception as exc:  # the runtime raises its own types
        raise GuardUnavailable(f"nudity: the ONNX runtime fails: {type(exc).__name__}") from exc
    return [float(row[1]) for row in out]
