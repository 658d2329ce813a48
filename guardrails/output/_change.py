"""What an edit did to a picture: facts about mask and change, and a check for undressing.

Image-to-image and inpainting take a picture in and give one back. What the policy must know: how much of it
may change, how much did, whether the mask lies over the body below a face, and whether more skin shows now.
Skin is told by colour alone (Kovac, Peer and Solina, EUROCON 2003, and a chroma rule for other light): it is
a fact for a rule, never a score by itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from clearmark.core import Box
from clearmark.core.errors import UsageError
from clearmark.guardrails._media import read_rgb

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

__all__ = ["EditFacts", "edit_facts", "skin_map", "skin_share"]

_SIDE = 256
_CHANGED = 24  # grey levels from which a pixel counts as another
_MORE_SKIN = 0.10


@dataclass(frozen=True, slots=True)
class EditFacts:
    """Shares are of the picture's area. `undressing` is what rules ask for: a body below a face, more skin.

    `body_masked` is the share of the bodies below `faces` that the mask covers; `skin_gain` how much more of
    the area below the faces (of the whole picture where there is none) is skin now.
    """

    masked: float
    changed: float
    body_masked: float
    skin_gain: float
    undressing: bool

    def to_facts(self) -> dict[str, bool | float]:
        """Return the facts as a finding carries them."""
        return {
            "edit_masked": round(self.masked, 4),
            "edit_changed": round(self.changed, 4),
            "edit_body_masked": round(self.body_masked, 4),
            "edit_skin_gain": round(self.skin_gain, 4),
            "edit_undressing": self.undressing,
        }


def edit_facts(
    before: bytes, after: bytes, mask: bytes | None = None, faces: Sequence[Box] = ()
) -> EditFacts:
    """Compare a picture before and after an edit. `faces` are boxes in pixels of `before`, upright.

    Raises:
        MediaError: when one cannot be read.
        UsageError: when a face lies outside the picture.
    """
    import numpy as np

    given = read_rgb(before)
    size = (given.shape[1], given.shape[0])
    old, new = _shrunk(given), _shrunk(read_rgb(after))
    gone = np.abs(old.astype(np.int16) - new.astype(np.int16)).max(2) >= _CHANGED
    covered = np.ones((_SIDE, _SIDE), dtype=bool)
    if mask is not None:
        covered = _shrunk(read_rgb(mask)).max(2) >= 128
    body = np.zeros((_SIDE, _SIDE), dtype=bool)
    for face in faces:
        _lay(body, face, size)
    where = body if body.any() else np.ones((_SIDE, _SIDE), dtype=bool)
    gain = float(_skin(new)[where].mean() - _skin(old)[where].mean())
    body_masked = float(covered[body].mean()) if body.any() else 0.0
    return EditFacts(
        masked=float(covered.mean()) if mask is not None else 0.0,
        changed=float(gone.mean()),
        body_masked=body_masked,
        skin_gain=gain,
        undressing=bool(body.any()) and gain >= _MORE_SKIN and body_masked > 0.1,
    )


def skin_share(data: bytes) -> float:
    """Return the share of a picture that has the colour of skin.

    Raises:
        MediaError: when it cannot be read.
    """
    return float(_skin(_shrunk(read_rgb(data))).mean())


def skin_map(rgb: NDArray[np.uint8], side: int = 128) -> NDArray[np.bool_]:
    """Return which pixels of a picture [height, width, 3], shrunk to `side` each way, have skin's colour."""
    import cv2
    import numpy as np

    small = np.asarray(cv2.resize(rgb, (side, side), interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return _skin(small)


def _lay(body: NDArray[np.bool_], face: Box, size: tuple[int, int]) -> None:
    """Mark where the body below a face is: three faces wide, six high."""
    if face.x >= size[0] or face.y >= size[1]:
        raise UsageError("a face lies outside the picture", hint="give boxes in pixels of the input")
    fx, fy = _SIDE / size[0], _SIDE / size[1]
    left, right = face.x - face.width, face.x + 2 * face.width
    top, bottom = face.y + face.height, face.y + 7 * face.height
    body[max(0, round(top * fy)) : round(bottom * fy), max(0, round(left * fx)) : round(right * fx)] = True


def _shrunk(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    import numpy as np
    import PIL.Image

    picture = PIL.Image.fromarray(rgb)
    return np.asarray(picture.resize((_SIDE, _SIDE), PIL.Image.Resampling.BILINEAR))


def _skin(rgb: NDArray[np.uint8]) -> NDArray[np.bool_]:
    import cv2
    import numpy as np

    r, g, b = (rgb[:, :, i].astype(np.int16) for i in range(3))
    spread = rgb.max(2).astype(np.int16) - rgb.min(2)
    daylight = (r > 95) & (g > 40) & (b > 20) & (spread > 15) & (np.abs(r - g) > 15) & (r > g) & (r > b)
    chroma = cv2.cvtColor(rgb, cv2.COLOR_RGB2YCrCb)
    dark = (
        (chroma[:, :, 1] >= 135)
        & (chroma[:, :, 1] <= 173)
        & (chroma[:, :, 2] >= 85)
        & (chroma[:, :, 2] <= 127)
    )
    return np.asarray((daylight | dark) & (chroma[:, :, 0] > 30))
