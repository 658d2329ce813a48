"""A generator that hands out pictures that exist already: to mark them, or to try things without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

from clearmark.core import Asset, Origin, Request, Task
from clearmark.core.errors import BackendUnavailable, GenerationFailed, InvalidRequest, MediaError
from clearmark.core.pixels import MAX_BYTES, encode_png, open_image
from clearmark.generation._backend import Defaults, ModelInfo

__all__ = ["FileGenerator"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_MAX_FILES = 10_000


class FileGenerator:
    """Hand out the picture at `path`, or those of the folder `path` in the order of their names.

    A request gets `n` pictures in turn, beginning at its seed (0 where it has none), so equal requests get
    equal pictures. They are written anew as PNG without the metadata of the file; the file's sha256 stands
    in the origin as the parent. Size, steps and prompt have no influence.
    """

    name = "file"

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()

    @property
    def defaults(self) -> Defaults:
        """The size of the first picture."""
        first = _read(self.files[0])[0]
        return Defaults(width=first.width, height=first.height)

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The pictures, in order.

        Raises:
            BackendUnavailable: when there is none.
        """
        if self.path.is_file():
            return (self.path,)
        if self.path.is_dir():
            found = sorted(p for p in self.path.iterdir() if p.suffix.lower() in _SUFFIXES and p.is_file())
            if found:
                return tuple(found[:_MAX_FILES])
        raise BackendUnavailable(
            f"no picture at {self.path}",
            hint="file:PATH names a PNG, JPEG or WebP picture, or a folder of them",
        )

    @cached_property
    def model(self) -> ModelInfo:
        """The name of the file or folder, with a digest over the pictures."""
        digests = [hashlib.sha256(_bytes(path)).hexdigest() for path in self.files]
        listing = "".join(f"{d}  {p.name}\n" for d, p in zip(digests, self.files, strict=True))
        whole = digests[0] if len(digests) == 1 else hashlib.sha256(listing.encode()).hexdigest()
        return ModelInfo(id=self.path.name, digest=f"sha256:{whole}")

    def generate(self, requests: Sequence[Request]) -> list[list[Asset]]:
        """Return the next `n` pictures for each request."""
        for request in requests:
            if request.task is not Task.TEXT_TO_IMAGE:
                raise InvalidRequest(f"file: {request.task.value} is not offered", hint="use another backend")
        return [[self._asset((request.seed or 0) + i) for i in range(request.n)] for request in requests]

    def _asset(self, index: int) -> Asset:
        picture, parent = _read(self.files[index % len(self.files)])
        return Asset(
            data=picture.data,
            media_type=picture.media_type,
            width=picture.width,
            height=picture.height,
            origin=Origin(
                generator=self.name,
                model=self.model.id,
                model_digest=self.model.digest,
                seed=index,
                parents=(parent,),
            ),
        )


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise BackendUnavailable(f"{path}: {exc.strerror}", hint="check the path and its rights") from exc
    if len(data) > MAX_BYTES:
        raise GenerationFailed(f"{path}: more than {MAX_BYTES:,} bytes")
    return data


def _read(path: Path) -> tuple[Asset, str]:
    data = _bytes(path)
    try:
        picture = open_image(data)
        if picture.mode not in {"RGB", "RGBA", "L"}:
            # Palettes keep their transparency; everything else (CMYK, 16 bits) becomes plain RGB.
            picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
        png = encode_png(picture)
    except MediaError as exc:
        raise GenerationFailed(f"{path}: {exc.message}", hint=exc.hint) from exc
    made = Asset(data=png, media_type="image/png", width=picture.width, height=picture.height)
    return made, hashlib.sha256(data).hexdigest()
