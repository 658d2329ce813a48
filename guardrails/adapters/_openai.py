"""OpenAI's moderation endpoint (`POST /v1/moderations`), and whatever speaks like it."""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping, Sequence
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


class OpenAIModeration:
    """Scores prompts by the service, in batches. The prompts leave the house."""

    name = "openai-moderation"
    version = "1"
    stages = frozenset({Stage.PROMPT})
    categories: tuple[str, ...] = tuple(dict.fromkeys(_OURS.values()))

    def __init__(
        self, *, model: str = "omni-moderation-latest", url: str = _URL, timeout_s: float = 10.0
    ) -> None:
        """Ask `url` with the key in `OPENAI_API_KEY`. Pin `model` to a dated name to replay decisions."""
        self._model = model
        self._service = Service(self.name, url, key_variable=_KEY, timeout_s=timeout_s)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each category and prompt.

        Raises:
            GuardUnavailable: without a key, or without an answer that can be read in time.
        """
        out: list[list[Finding]] = []
        for first in range(0, len(batch), _BATCH):
            part = batch[first : first + _BATCH]
            began = time.perf_counter()
            # Lone surrogates have no UTF-8; an empty text is refused by the service.
            texts = [subject.request.prompt.encode(errors="replace").decode() or " " for subject in part]
            results = _ask(self._service, self.name, self._model, texts, len(part))
            ms = (time.perf_counter() - began) * 1000 / len(part)
            out += [
                findings_of(
                    self.name,
                    self.version,
                    _read(self.name, scores, self.categories),
                    categories=self.categories,
                    facts={"openai_model": self._model},
                    ms=ms,
                )
                for scores in results
            ]
        return out


class OpenAIImageModeration:
    """Scores pictures by the service, which takes one at a time. The pictures leave the house.

    The service judges pictures in these categories only; the others it reports as 0, which says nothing.
    """

    name = "openai-moderation-images"
    version = "1"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})
    categories: tuple[str, ...] = ("sexual", "violence", "violence/graphic", "self-harm")

    def __init__(
        self, *, model: str = "omni-moderation-latest", url: str = _URL, timeout_s: float = 10.0
    ) -> None:
        """Ask `url` with the key in `OPENAI_API_KEY`."""
        self._model = model
        self._service = Service(self.name, url, key_variable=_KEY, timeout_s=timeout_s)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each category and picture.

        Raises:
            GuardUnavailable: without a key, an answer in time, or a picture that can be read.
        """
        out: list[list[Finding]] = []
        for subject in batch:
            began = time.perf_counter()
            data, kind = picture_of(self.name, subject)
            address = f"data:{kind};base64,{base64.b64encode(data).decode()}"
            (scores,) = _ask(
                self._service,
                self.name,
                self._model,
                [{"type": "image_url", "image_url": {"url": address}}],
                1,
            )
            out.append(
                findings_of(
                    self.name,
                    self.version,
                    _read(self.name, scores, self.categories),
                    categories=self.categories,
                    facts={"openai_model": self._model},
                    ms=(time.perf_counter() - began) * 1000,
                )
            )
        return out


def _ask(service: Service, guard: str, model: str, asked: list[Any], count: int) -> list[Mapping[str, Any]]:
    answer = service.ask(
        {"model": model, "input": asked},
        {"Authorization": "Bearer {key}", "Content-Type": "application/json"},
    )
    results = answer.get("results")
    if not isinstance(results, list) or len(results) != count:
        raise GuardUnavailable(f"{guard}: the service answers for another number of inputs than {count}")
    scores = [result.get("category_scores") if isinstance(result, dict) else None for result in results]
    if not all(isinstance(one, dict) for one in scores):
        raise GuardUnavailable(f"{guard}: the service gives no scores")
    return [dict(one) for one in scores if isinstance(one, dict)]


def _read(guard: str, scores: Mapping[str, Any], categories: Sequence[str]) -> dict[str, float]:
    out: dict[str, float] = {}
    for theirs, value in scores.items():
        ours = _OURS.get(theirs)
        if ours is not None and ours in categories and value is not None:
            out[ours] = max(out.get(ours, 0.0), score_of(guard, value))
    missing = [category for category in categories if category not in out]
    if missing:
        raise GuardUnavailable(f"{guard}: the service gives no score for {', '.join(missing)}")
    return out
