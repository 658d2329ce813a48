"""Nudity in pictures, by Yahoo's OpenNSFW (a ResNet-50 in ONNX).

The network was trained on pictures squeezed to 256 x 256 and cropped to the middle 224, compressed as JPEG,
blue first, mean subtracted (https://github.com/yahoo/open_nsfw). It must see the same here.
"""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clearmark.core import Finding, Stage, Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.guardrails._media import pixels_of, unavailable
from clearmark.guardrails.models import entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

__all__ = ["NudityGuard", "pixels_for_network"]

_THRESHOLD = 0.5
_MAX_BATCH = 16
_THREADS = 2

_lock = threading.Lock()
_session: Any = None


class NudityGuard:
    """Scores `sexual` by the whole picture's looks. Cartoons and classical art are underrated."""

    name = "nudity"
    version = "1"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})
    categories: tuple[str, ...] = ("sexual",)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one `sexual` finding per picture.

        Raises:
            GuardUnavailable: when the weights are missing or altered, or a picture cannot be read.
        """
        import numpy as np

        began = time.perf_counter()
        model = entry("opennsfw")
        session = _open()
        scores: list[float] = []
        for first in range(0, len(batch), _MAX_BATCH):
            some = batch[first : first + _MAX_BATCH]
            pixels = np.stack([_prepare(pixels_of(self.name, subject)) for subject in some])
            scores.extend(_run(session, pixels))
        ms = (time.perf_counter() - began) * 1000 / max(1, len(batch))
        return [[self._finding(score, model.ref, ms)] for score in scores]

    def _finding(self, score: float, model: str, ms: float) -> Finding:
        return Finding(
            category="sexual",
            score=min(1.0, max(0.0, score)),
            guard=self.name,
            guard_version=self.version,
            model=model,
            threshold=_THRESHOLD,
            facts=MappingProxyType({"nudity_score": round(score, 6)}),
            ms=ms,
        )


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
