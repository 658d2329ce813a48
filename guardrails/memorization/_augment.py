"""Strong random changes that leave a copy a copy: what the descriptor learns to look through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["augment"]

_WORDS = ("SALE", "Lorem ipsum", "copyright", "new", "2024", "hello world", "DRAFT", "wow!")


def augment(
    picture: NDArray[np.uint8], rng: np.random.Generator, others: Sequence[NDArray[np.uint8]], side: int
) -> NDArray[np.uint8]:
    """Return `picture` (uint8 [h, w, 3]) after one to four changes, squeezed to [side, side, 3].

    `others` are pictures to paste over it, or to paste it onto.
    """
    import cv2
    import numpy as np

    number = int(rng.integers(1, 5))
    for name in rng.choice(len(_CHANGES), size=number, replace=False, p=_SHARES):
        picture = _CHANGES[int(name)](picture, rng, others)
        if min(picture.shape[:2]) < 8:
            picture = cv2.resize(picture, (32, 32), interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA))


def _other(rng: Any, others: Any) -> Any:
    return others[int(rng.integers(len(others)))]


def _crop(x: Any, rng: Any, _: Any) -> Any:
    height, width = x.shape[:2]
    area, shape = rng.uniform(0.15, 0.9), math.exp(rng.uniform(-0.4, 0.4))
    h = max(8, min(height, int(height * (area * shape) ** 0.5)))
    w = max(8, min(width, int(width * (area / shape) ** 0.5)))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    return x[top : top + h, left : left + w]


def _rotate(x: Any, rng: Any, _: Any) -> Any:
    import cv2

    height, width = x.shape[:2]
    angle = float(rng.choice([rng.uniform(-25, 25), rng.uniform(-180, 180)]))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), angle, float(rng.uniform(0.8, 1.2)))
    colour = [int(c) for c in rng.integers(0, 256, 3)] if rng.random() < 0.5 else [255, 255, 255]
    return cv2.warpAffine(x, turn, (width, height), borderMode=cv2.BORDER_CONSTANT, borderValue=colour)


def _flip(x: Any, rng: Any, _: Any) -> Any:
    import numpy as np

    x = np.rot90(x, int(rng.integers(4))) if rng.random() < 0.5 else x
    return np.ascontiguousarray(x[:, ::-1] if rng.random() < 0.6 else x)


def _colour(x: Any, rng: Any, _: Any) -> Any:
    import cv2
    import numpy as np

    kind = rng.random()
    if kind < 0.25:
        return cv2.cvtColor(cv2.cvtColor(x, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if kind < 0.5:
        hsv = cv2.cvtColor(x, cv2.COLOR_RGB2HSV)
        hsv[..., 0] = (hsv[..., 0].astype(int) + int(rng.integers(180))) % 180
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
    if kind < 0.6:
        return 255 - x
    gain, lift = rng.uniform(0.5, 1.6, 3), rng.uniform(-50, 50)
    return np.clip(x * gain + lift, 0, 255).astype(np.uint8)


def _blur(x: Any, rng: Any, _: Any) -> Any:
    import cv2

    if rng.random() < 0.5:
        return cv2.GaussianBlur(x, (0, 0), float(rng.uniform(0.6, 3.0)))
    height, width = x.shape[:2]
    share = rng.uniform(0.15, 0.6)
    small = cv2.resize(x, (max(8, int(width * share)), max(8, int(height * share))))
    return cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)


def _noise(x: Any, rng: Any, _: Any) -> Any:
    import cv2
    import numpy as np

    if rng.random() < 0.5:
        return np.clip(x + rng.normal(0, rng.uniform(5, 35), x.shape), 0, 255).astype(np.uint8)
    done, data = cv2.imencode(".jpg", x, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(5, 50))])
    return cv2.imdecode(data, cv2.IMREAD_COLOR) if done else x


def _text(x: Any, rng: Any, _: Any) -> Any:
    import cv2

    x = x.copy()
    height, width = x.shape[:2]
    for _line in range(int(rng.integers(1, 4))):
        place = (int(rng.integers(0, max(1, width // 2))), int(rng.integers(height // 5, height)))
        colour = [int(c) for c in rng.integers(0, 256, 3)]
        word = _WORDS[int(rng.integers(len(_WORDS)))]
        cv2.putText(
            x, word, place, int(rng.integers(0, 5)), float(rng.uniform(0.5, 2.0)) * width / 224, colour, 2
        )
    return x


def _sticker(x: Any, rng: Any, others: Any) -> Any:
    """Lay another picture over a part: a sticker, or what a template changes."""
    import cv2

    x = x.copy()
    height, width = x.shape[:2]
    h, w = max(4, int(height * rng.uniform(0.15, 0.7))), max(4, int(width * rng.uniform(0.15, 0.7)))
    top, left = int(rng.integers(height - h + 1)), int(rng.integers(width - w + 1))
    x[top : top + h, left : left + w] = cv2.resize(_other(rng, others), (w, h))
    return x


def _border(x: Any, rng: Any, _: Any) -> Any:
    import cv2

    height, width = x.shape[:2]
    pads = [int(side * rng.uniform(0, 0.3)) for side in (height, height, width, width)]
    colour = [int(c) for c in rng.integers(0, 256, 3)]
    return cv2.copyMakeBorder(x, pads[0], pads[1], pads[2], pads[3], cv2.BORDER_CONSTANT, value=colour)


def _paste(x: Any, rng: Any, others: Any) -> Any:
    """Paste the picture onto another one."""
    import cv2

    ground = cv2.resize(_other(rng, others), (200, 200))
    share = rng.uniform(0.4, 0.85)
    h, w = int(200 * share), int(200 * share * min(1.1, max(0.6, x.shape[1] / x.shape[0])))
    w = min(w, 200)
    top, left = int(rng.integers(200 - h + 1)), int(rng.integers(200 - w + 1))
    ground[top : top + h, left : left + w] = cv2.resize(x, (w, h))
    return ground


_CHANGES = (_crop, _rotate, _flip, _colour, _blur, _noise, _text, _sticker, _border, _paste)
_SHARES = (0.18, 0.12, 0.08, 0.12, 0.08, 0.07, 0.08, 0.11, 0.07, 0.09)
