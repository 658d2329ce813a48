"""Pictures that a pipeline hands over, as a generator: for the `safety_checker` slot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from clearmark.core import Asset, Origin, Request
from clearmark.core.errors import MediaError
from clearmark.core.pixels import encode_png
from clearmark.sdk._models import describe_model

__all__ = ["GivenPictures"]


class GivenPictures:
    """A generator that gives each request the picture that is already there."""

    name = "safety-checker"
    defaults: Any = None

    def __init__(self, images: Any) -> None:
        self._images = images
        self._tensor = not _is_array(images)
        self._pixels = _to_bytes(images, tensor=self._tensor)
        self.model = describe_model("unknown")
        self.requests = [Request("") for _ in self._pixels]
        self._places = {request.request_id: place for place, request in enumerate(self.requests)}

    def generate(self, requests: Sequence[Request]) -> list[list[Asset]]:
        """Return the picture of each request."""
        from PIL import Image

        made = []
        for request in requests:
            pixels = self._pixels[self._places[request.request_id]]
            height, width = pixels.shape[:2]
            made.append(
                [
                    Asset(
                        data=encode_png(Image.fromarray(pixels)),
                        media_type="image/png",
                        width=width,
                        height=height,
                        origin=Origin(generator=self.name),
                    )
                ]
            )
        return made

    def replaced(self, pictures: Sequence[Any]) -> Any:
        """Return the images in their own type, range and device; a picture that is None comes back black."""
        import numpy as np

        stack = np.stack(
            [
                np.asarray(picture.convert("RGB")) if picture is not None else np.zeros_like(original)
                for picture, original in zip(pictures, self._pixels, strict=True)
            ]
        )
        if not self._tensor:
            return (stack.astype(np.float32) / 255).astype(self._images.dtype)
        import torch

        tensor = torch.from_numpy(stack).permute(0, 3, 1, 2).to(torch.float32) / 127.5 - 1
        for place, picture in enumerate(pictures):
            if picture is None:
                # A flagged picture is not brought from [-1, 1] to [0, 1] later on, so black is 0 here.
                tensor[place] = 0
        return tensor.to(dtype=self._images.dtype, device=self._images.device)


def _is_array(images: Any) -> bool:
    import numpy as np

    return isinstance(images, np.ndarray)


def _to_bytes(images: Any, *, tensor: bool) -> Any:
    import numpy as np

    try:
        array = images.detach().float().cpu().permute(0, 2, 3, 1).numpy() / 2 + 0.5 if tensor else images
        if array.ndim != 4 or array.shape[-1] != 3:
            raise MediaError(f"the safety checker was given shape {array.shape}, not (N, H, W, 3)")
        if not np.isfinite(array).all():
            raise MediaError("the safety checker was given pixels that are not numbers")
        return np.clip(np.rint(np.asarray(array, dtype=np.float32) * 255), 0, 255).astype(np.uint8)
    except (AttributeError, TypeError, RuntimeError) as exc:
        raise MediaError(f"the safety checker was given {type(images).__name__}, not pictures") from exc
