"""The guard over marks in pictures: logos by shape, brand words by reading, category `trademark`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from clearmark.core import Box, Evidence, Finding, Match, Stage, Subject
from clearmark.core.optional import import_optional
from clearmark.guardrails._media import pixels_of, unavailable
from clearmark.guardrails.models import entry
from clearmark.guardrails.trademark._brands import find_brands
from clearmark.guardrails.trademark._logos import LogoIndex, find_logos

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["MarkGuard", "TextReader", "read_text"]

TextReader = Callable[["NDArray[np.uint8]"], list[tuple[str, Box]]]
"""What reads text: takes RGB pixels [height, width, 3], returns lines with the box of each."""

_MOST = 8
_PIP = "pip install --no-deps rapidocr-onnxruntime pyclipper shapely six pyyaml tqdm"
_lock = threading.Lock()
_engine: Any = None


class MarkGuard:
    """Scores `trademark` by logos in a picture and, where a reader is given, by the words in it.

    `reader` may be `read_text`; `judge` gets all words of a picture in a row and returns further facts, such
    as what the prompt guards say of them.
    """

    name = "marks"
    version = "2"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})
    categories: tuple[str, ...] = ("trademark",)

    def __init__(
        self,
        *,
        reader: TextReader | None = None,
        judge: Callable[[str], dict[str, bool | int | float | str]] | None = None,
        own: LogoIndex | None = None,
    ) -> None:
        """Read words by `reader`, and hand them to `judge`; without a reader only shapes are looked at.

        `own` are further marks to look for (`LogoIndex.of`).
        """
        self._reader, self._judge, self._own = reader, judge, own

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return the marks of every picture, the clearest first; one finding of score 0 where there are none.

        Raises:
            GuardUnavailable: when a picture or the index cannot be read, or the reader fails.
        """
        with unavailable(self.name, "looking at a picture"):
            return [self._check(subject) for subject in batch]

    def _check(self, subject: Subject) -> list[Finding]:
        began = time.perf_counter()
        rgb = pixels_of(self.name, subject)
        hits = find_logos(rgb) + (find_logos(rgb, self._own) if self._own is not None else [])
        found = [(hit.score, hit.box, Match(hit.name, "logo")) for hit in hits]
        facts: dict[str, bool | int | float | str] = {"logo_count": len(found)}
        if self._reader is not None:
            lines = self._reader(rgb)
            facts["text_lines"] = len(lines)
            # A word on a sign is written to be one: no caption's grammar says what is meant.
            found += [
                (hit.score, box, Match(hit.name, "word"))
                for text, box in lines
                for hit in find_brands(text)
                if hit.score >= 0.5
            ]
            if self._judge is not None and lines:
                facts.update(self._judge("\n".join(text for text, _ in lines)[:20_000]))
        found.sort(key=lambda item: -item[0])
        ms = (time.perf_counter() - began) * 1000
        shown: list[tuple[float, Box, Match] | None] = [*found[:_MOST]] or [None]
        return [
            Finding(
                category="trademark",
                score=0.0 if item is None else item[0],
                guard=self.name,
                guard_version=self.version,
                model=entry("logo-shapes").ref,
                threshold=0.5,
                evidence=Evidence() if item is None else Evidence(box=item[1], match=item[2]),
                facts=MappingProxyType(facts) if number == 0 else MappingProxyType({}),
                ms=ms if number == 0 else 0.0,
            )
            for number, item in enumerate(shown)
        ]


def read_text(rgb: NDArray[np.uint8]) -> list[tuple[str, Box]]:
    """Read the text in a picture by RapidOCR (PP-OCRv4, Apache-2.0; its weights are in the package).

    Raises:
        ExtraMissing: when the package is absent. It asks for another build of OpenCV than clearmark does, so
            it is installed without its dependencies, by the command that the error names.
    """
    global _engine  # noqa: PLW0603  one engine: three networks
    module = import_optional("rapidocr_onnxruntime", pip=_PIP)
    with _lock:
        if _engine is None:
            _engine = module.RapidOCR(intra_op_num_threads=1, inter_op_num_threads=1)
        rows, _ = _engine(rgb[:, :, ::-1].copy())
    out: list[tuple[str, Box]] = []
    for corners, text, sure in rows or ():
        if float(sure) >= 0.6:
            xs, ys = [float(x) for x, _ in corners], [float(y) for _, y in corners]
            box = Box(round(min(xs)), round(min(ys)), round(max(xs) - min(xs)), round(max(ys) - min(ys)))
            out.append((str(text), box))
    return out
