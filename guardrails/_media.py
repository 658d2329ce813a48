"""What the guards of pictures share: pixels, decoded once for all, and faults that mean "unavailable"."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from clearmark.core import Subject
from clearmark.core.errors import Error, GuardUnavailable
from clearmark.core.pixels import open_image

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["READING", "pixels_of", "read_rgb", "shared_pixels", "unavailable"]

READING: tuple[type[Exception], ...] = (OSError, ValueError, MemoryError)
"""What the libraries raise on a picture that they cannot cope with."""

_MOST_KEPT = 256 * 1024 * 1024  # bytes of decoded pictures; what is beyond is decoded by each guard

_lock = threading.Lock()
_users = 0
_kept: dict[bytes, _Decoded] = {}


class _Decoded:
    """The pixels of one picture, decoded by whoever asks first; the others wait for that."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rgb: NDArray[np.uint8] | None = None


@contextmanager
def unavailable(guard: str, doing: str, *, kinds: tuple[type[Exception], ...] = READING) -> Iterator[None]:
    """Turn an error of ours, and those of `kinds`, into `GuardUnavailable`, which a policy can deal with."""
    try:
        yield
    except GuardUnavailable:
        raise
    except Error as exc:
        raise GuardUnavailable(f"{guard}: {exc.message}", hint=exc.hint) from exc
    except kinds as exc:
        # Not the error's own text: it may quote what a user sent.
        raise GuardUnavailable(f"{guard}: {type(exc).__name__} while {doing}") from exc


def read_rgb(data: bytes) -> NDArray[np.uint8]:
    """Return the picture upright, as RGB [height, width, 3], transparency laid on white.

    Raises:
        MediaError: when it cannot be read.
    """
    import numpy as np
    import PIL.Image
    import PIL.ImageOps

    picture = PIL.ImageOps.exif_transpose(open_image(data))
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = picture.point(lambda value: value / 256).convert("L")
    if picture.mode in {"RGBA", "LA", "PA"} or "transparency" in picture.info:
        clear = picture.convert("RGBA")
        picture = PIL.Image.alpha_composite(PIL.Image.new("RGBA", clear.size, "white"), clear)
    return np.asarray(picture.convert("RGB"))


@contextmanager
def shared_pixels() -> Iterator[None]:
    """Keep what is decoded while a run of guards lasts; when the last one ends, all of it is forgotten."""
    global _users  # noqa: PLW0603  runs may overlap: a count of them
    with _lock:
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _kept.clear()


def pixels_of(guard: str, subject: Subject) -> NDArray[np.uint8]:
    """Return the pixels of a subject's picture as `read_rgb` does; guards of one run share them, read-only.

    Raises:
        GuardUnavailable: when there is no picture, or it cannot be read.
    """
    if subject.asset is None:
        raise GuardUnavailable(f"{guard}: no picture to look at")
    data = subject.asset.data
    with unavailable(guard, "reading a picture"):
        with _lock:
            used = sum(one.rgb.nbytes for one in _kept.values() if one.rgb is not None)
            keep = bool(_users) and (data in _kept or used < _MOST_KEPT)
            slot = _kept.setdefault(data, _Decoded()) if keep else _Decoded()
        with slot.lock:
            if slot.rgb is None:
                rgb = read_rgb(data)
                rgb.flags.writeable = False
                slot.rgb = rgb
            return slot.rgb
