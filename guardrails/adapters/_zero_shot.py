"""Categories told by words: a CLIP compares each picture with descriptions, no training needed.

For a checkpoint of the CLIP family (CLIP, SigLIP, and OpenCLIP's weights in transformers' format). A concept
has descriptions of what it is, and of what looks like it and is not: the share of the first is the score.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clearmark.core import CATEGORIES, Finding, Stage, Subject
from clearmark.core.errors import UsageError
from clearmark.core.optional import import_optional
from clearmark.guardrails._media import pixels_of, unavailable
from clearmark.guardrails.adapters._checkpoint import Checkpoint
from clearmark.guardrails.adapters._service import findings_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["CONCEPTS", "Concept", "ZeroShotGuard"]

_BATCH = 16


@dataclass(frozen=True)
class Concept:
    """One category: sentences that describe it, and sentences for what only looks like it."""

    category: str
    shows: tuple[str, ...]
    instead: tuple[str, ...]


CONCEPTS: tuple[Concept, ...] = (
    Concept(
        "violence/graphic",
        ("a photo of a bloody wound", "a picture of a mutilated body", "gore"),
        ("a photo of red paint", "a picture of food with red sauce", "a photo of a person", "a landscape"),
    ),
    Concept(
        "violence",
        ("a picture of a person attacking another", "a person pointing a gun at somebody"),
        ("people dancing", "people playing sports", "a person holding a tool", "a landscape"),
    ),
    Concept(
        "hate",
        ("a picture with a swastika flag", "a hooded member of a hate group", "a hate symbol"),
        ("a flag of a country", "a religious symbol on a temple", "a person in a coat", "a landscape"),
    ),
    Concept(
        "self-harm",
        ("a picture of self-harm scars on an arm", "a person about to hang themselves"),
        ("a tattoo on an arm", "a person sitting alone", "a rope on a boat", "a landscape"),
    ),
)
"""The heads that ship. They are not calibrated: measure them on the checkpoint that you use."""


class ZeroShotGuard:
    """Scores pictures by concepts told in words. `scale` sharpens shares where the model states none."""

    name = "zero-shot"
    version = "1"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})

    def __init__(self, checkpoint: Checkpoint, concepts: Sequence[Concept] = CONCEPTS) -> None:
        """Use the model of `checkpoint`, loaded when first asked; needs the extra `local`.

        Raises:
            UsageError: without a concept, for an unknown category, or without descriptions to compare.
        """
        if not concepts:
            raise UsageError("no concept to look for", hint="give at least one `Concept`")
        for concept in concepts:
            if concept.category not in CATEGORIES:
                raise UsageError(f"no category {concept.category!r}", hint=", ".join(CATEGORIES))
            if not concept.shows or not concept.instead:
                raise UsageError(f"{concept.category}: nothing to compare", hint="describe both sides")
        self._checkpoint, self._concepts = checkpoint, tuple(concepts)
        self.categories: tuple[str, ...] = tuple(dict.fromkeys(one.category for one in concepts))
        self._lock = threading.Lock()
        self._loaded: tuple[Any, Any, Any] | None = None

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each category and picture.

        Raises:
            GuardUnavailable: when the checkpoint is not the one on record, a picture cannot be read, or the
                model fails.
        """
        out: list[list[Finding]] = []
        # The libraries raise their own types.
        with unavailable(self.name, "asking the model", kinds=(Exception,)):
            for first in range(0, len(batch), _BATCH):
                part = batch[first : first + _BATCH]
                began = time.perf_counter()
                pictures = [pixels_of(self.name, subject) for subject in part]
                with self._lock:
                    scores = self._scores(pictures)
                ms = (time.perf_counter() - began) * 1000 / len(part)
                out += [
                    findings_of(
                        self.name,
                        self.version,
                        row,
                        categories=self.categories,
                        model=self._checkpoint.ref,
                        ms=ms,
                    )
                    for row in scores
                ]
        return out

    def _scores(self, pictures: Sequence[NDArray[np.uint8]]) -> list[dict[str, float]]:
        import PIL.Image

        torch = import_optional("torch", extra="local")
        processor, model, texts = self._open()
        with torch.inference_mode():
            inputs = processor(
                images=[PIL.Image.fromarray(_square(rgb)) for rgb in pictures], return_tensors="pt"
            )
            seen = _unit(model.get_image_features(**inputs))
            products = seen @ texts.T * model.logit_scale.exp()
        if not bool(torch.isfinite(products).all()):
            raise ValueError("a product that is no number")
        out: list[dict[str, float]] = []
        for row in products:
            scores: dict[str, float] = {}
            place = 0
            for concept in self._concepts:
                count = len(concept.shows) + len(concept.instead)
                shares = torch.softmax(row[place : place + count].float(), dim=0)
                score = float(shares[: len(concept.shows)].sum())
                scores[concept.category] = max(scores.get(concept.category, 0.0), score)
                place += count
            out.append(scores)
        return out

    def _open(self) -> tuple[Any, Any, Any]:
        if self._loaded is None:
            torch = import_optional("torch", extra="local")
            transformers = import_optional("transformers", extra="local")
            folder = str(self._checkpoint.verify())
            options = {"local_files_only": True, "trust_remote_code": False}
            processor = transformers.AutoImageProcessor.from_pretrained(folder, **options)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
            model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, **options).eval()
            sentences = [text for one in self._concepts for text in (*one.shows, *one.instead)]
            with torch.inference_mode():
                read = tokenizer(sentences, padding="max_length", truncation=True, return_tensors="pt")
                texts = _unit(
                    model.get_text_features(**{k: read[k] for k in ("input_ids", "attention_mask")})
                )
            self._loaded = (processor, model, texts)
        return self._loaded


def _unit(features: Any) -> Any:
    rows = getattr(features, "pooler_output", features)
    return rows / rows.norm(dim=-1, keepdim=True)


def _square(rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pad to a square, so that nothing at the edges is cropped away before it is looked at."""
    import cv2
    import numpy as np

    height, width = rgb.shape[:2]
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    padded = cv2.copyMakeBorder(
        rgb, top, side - height - top, left, side - width - left, cv2.BORDER_CONSTANT, value=(127, 127, 127)
    )
    small = cv2.resize(padded, (512, 512), interpolation=cv2.INTER_AREA) if side > 512 else padded
    return np.asarray(small, dtype=np.uint8)
