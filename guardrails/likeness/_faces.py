"""Faces in pictures: found by YuNet (Wu et al., Machine Intelligence Research 2023), told apart by dlib.

The detector needs nothing beside the base install. What tells people apart (dlib's ResNet, 128 numbers a
face, aligned by the five-point model) comes with the extra `faces`.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clearmark.core import Box
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.core.optional import import_optional
from clearmark.guardrails.models import entry

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MAX_FACES", "Face", "embed_faces", "find_faces"]

MAX_FACES = 64
"""Most faces of one picture that are looked at, the surest first."""

_SIDE = 640  # longest side that the detector sees
_SURE = 0.7

_lock = threading.Lock()
_detector: Any = None
_encoder: tuple[Any, Any] | None = None


@dataclass(frozen=True, slots=True)
class Face:
    """One face: its box in pixels of the picture, and how sure the detector is."""

    box: Box
    score: float


def find_faces(rgb: NDArray[np.uint8]) -> list[Face]:
    """Return the faces of a picture [height, width, 3], the surest first.

    Raises:
        GuardUnavailable: when the detector's file is missing or altered, or the runtime fails.
    """
    import cv2
    import numpy as np

    height, width = rgb.shape[:2]
    scale = min(1.0, _SIDE / max(height, width))
    size = (max(32, round(width * scale)), max(32, round(height * scale)))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    with _lock:
        detector = _open_detector()
        try:
            detector.setInputSize(size)
            _, rows = detector.detect(np.ascontiguousarray(small[:, :, ::-1]))
        except cv2.error as exc:
            raise GuardUnavailable("faces: the detector fails on a picture") from exc
    faces: list[Face] = []
    for row in () if rows is None else rows[:MAX_FACES]:
        x, y = max(0.0, float(row[0]) * width / size[0]), max(0.0, float(row[1]) * height / size[1])
        w, h = float(row[2]) * width / size[0], float(row[3]) * height / size[1]
        box = Box(round(x), round(y), max(1, round(min(w, width - x))), max(1, round(min(h, height - y))))
        faces.append(Face(box, min(1.0, float(row[14]))))
    return sorted(faces, key=lambda face: -face.score)


def embed_faces(rgb: NDArray[np.uint8], faces: Sequence[Face]) -> NDArray[np.float32]:
    """Return 128 numbers for each face [faces, 128]; one person's lie close together (Euclidean).

    Raises:
        ExtraMissing: without the extra `faces`.
        GuardUnavailable: when its weights are missing or altered.
    """
    import numpy as np

    if not faces:
        return np.empty((0, 128), dtype=np.float32)
    dlib = import_optional("dlib", extra="faces")
    pixels = np.ascontiguousarray(rgb)
    with _lock:
        points, encoder = _open_encoder(dlib)
        rows = []
        for face in faces:
            x, y = face.box.x, face.box.y
            place = dlib.rectangle(x, y, x + face.box.width, y + face.box.height)
            rows.append(np.array(encoder.compute_face_descriptor(pixels, points(pixels, place)), np.float32))
    return np.stack(rows)


def _open_detector() -> Any:
    global _detector  # noqa: PLW0603  one for all guards
    try:
        (path,) = entry("face-yunet").verify().values()
    except Error as exc:
        _detector = None
        raise GuardUnavailable(f"faces: {exc.message}", hint=exc.hint) from exc
    if _detector is None:
        import cv2

        log = cv2.utils.logging
        before = log.getLogLevel()
        log.setLogLevel(log.LOG_LEVEL_ERROR)  # OpenCV 5 warns of its own default target
        try:
            _detector = cv2.FaceDetectorYN.create(str(path), "", (320, 320), _SURE, 0.3, 500)
        except cv2.error as exc:
            raise GuardUnavailable("faces: OpenCV cannot load the detector") from exc
        finally:
            log.setLogLevel(before)
    return _detector


def _open_encoder(dlib: Any) -> tuple[Any, Any]:
    global _encoder  # noqa: PLW0603  one for all guards
    try:
        found = entry("face-dlib").verify()
    except Error as exc:
        _encoder = None
        raise GuardUnavailable(f"faces: {exc.message}", hint=exc.hint) from exc
    if _encoder is None:
        _encoder = (
            dlib.shape_predictor(str(found["models/shape_predictor_5_face_landmarks.dat"])),
            dlib.face_recognition_model_v1(str(found["models/dlib_face_recognition_resnet_model_v1.dat"])),
        )
    return _encoder
