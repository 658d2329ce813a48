"""OpenAI's moderation endpoint (`POST /v1/moderations`), and whatever speaks like it."""

from __future__ import annotations

import base64
import time
from collections.abc import Sequence
from typing import Any

from clearmark.core import Finding, Stage, Subject
from clearmark.core.errors import GuardUnavailable
from clearmark.guardrails.adapters._service import Service, findings_of, picture_of, score_of

__all__ = ["OpenAIImageModeration", "OpenAIModeration"]

_URL = "https://api.openai.com/v1/moderations"
_KEY = "OPENAI_API_KEY"
_BATCH = 32
# Finer categories of the service count as the one of ours that they belong to: the worst of them.
_OURS = {
    "sexual": "sexual", "sexual/minors": "sexual/minors", "violence": "violence",
    "violence/graphic": "violence/graphic", "hate": "hate", "hate/threatening": "hate",
    "harassment": "harassment", "harassment/threatening": "harassment", "self-harm": "self-harm",
    "self-harm/intent": "self-harm", "self-harm/instructions": "self-harm", "illicit": "illicit",
    "illicit/violent": "illicit",
}  # fmt: skip


class _Moderation:
    """What both guards do: ask the service about inputs, and make findings of its answer."""

    name: str
    version = "1"
    categories: tuple[str, ...]

    def __init__(
        self, *, model: str = "omni-moderation-latest", url: str = _URL, timeout_s: float = 10.0
    ) -> None:
        """Ask `url` with the key in `OPENAI_API_KEY`. Pin `model` to a dated name to replay decisions."""
        self._model = model
        self._service = Service(self.name, url, key_variable=_KEY, timeout_s=timeout_s)

    def _moderate(self, inputs: Sequence[str | dict[str, Any]]) -> list[list[Finding]]:
        """Return the findings of every input, which the service is asked about in one request."""
        began = time.perf_counter()
        answer = self._service.ask(
            {"model": self._model, "input": list(inputs)},
            {"Authorization": "Bearer {key}", "Content-Type": "application/json"},
        )
        results = answer.get("results")
        if not isinstance(results, list) or len(results) != len(inputs):
            raise GuardUnavailable(
                f"{self.name}: the service answers for another number of inputs than {len(inputs)}"
            )
        ms = (time.perf_counter() - began) * 1000 / len(inputs)
        return [
            findings_of(
                self.name,
                self.version,
                self._read(result.get("category_scores") if isinstance(result, dict) else None),
                categories=self.categories,
                facts={"openai_model": self._model},
                ms=ms,
            )
            for result in results
        ]

    def _read(self, scores: object) -> dict[str, float]:
        if not isinstance(scores, dict):
            raise GuardUnavailable(f"{self.name}: the service gives no scores")
        out: dict[str, float] = {}
        for theirs, value in scores.items():
            ours = _OURS.get(theirs)
            if ours is not None and ours in self.categories and value is not None:
                out[ours] = max(out.get(ours, 0.0), score_of(self.name, value))
        missing = [category for category in self.categories if category not in out]
        if missing:
            raise GuardUnavailable(f"{self.name}: the service gives no score for {', '.join(missing)}")
        return out


class OpenAIModeration(_Moderation):
    """Scores prompts by the service, in batches. The prompts leave the house."""

    name = "openai-moderation"
    stages = frozenset({Stage.PROMPT})
    categories: tuple[str, ...] = tuple(dict.fromkeys(_OURS.values()))

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each category and prompt.

        Raises:
            GuardUnavailable: without a key, or without an answer that can be read in time.
        """
        # Lone surrogates have no UTF-8; an empty text is refused by the service.
        texts = [subject.request.prompt.encode(errors="replace").decode() or " " for subject in batch]
        out: list[list[Finding]] = []
        for first in range(0, len(texts), _BATCH):
            out += self._moderate(texts[first : first + _BATCH])
        return out


class OpenAIImageModeration(_Moderation):
    """Scores pictures by the service, which takes one at a time. The pictures leave the house.

    The service judges pictures in these categories only; the others it reports as 0, which says nothing.
    """

    name = "openai-moderation-images"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})
    categories: tuple[str, ...] = ("sexual", "violence", "violence/graphic", "self-harm")

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each category and picture.

        Raises:
            GuardUnavailable: without a key, an answer in time, or a picture that can be read.
        """
        out: list[list[Finding]] = []
        for subject in batch:
            data, kind = picture_of(self.name, subject)
            address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
            out += self._moderate([{"type": "image_url", "image_url": {"url": address}}])
        return out
