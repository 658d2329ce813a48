"""Azure AI Content Safety (`text:analyze` and `image:analyze` of its REST interface)."""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Mapping, Sequence
from typing import Any

from clearmark.core import Finding, Stage, Subject
from clearmark.core.errors import GuardUnavailable, UsageError
from clearmark.guardrails.adapters._service import Service, findings_of, picture_of

__all__ = ["AzureContentSafety", "AzureImageContentSafety"]

_VERSION = "2024-09-01"
_ENDPOINT, _KEY = "AZURE_CONTENT_SAFETY_ENDPOINT", "AZURE_CONTENT_SAFETY_KEY"
_OURS = {"Hate": "hate", "Sexual": "sexual", "SelfHarm": "self-harm", "Violence": "violence"}
_LONGEST, _OVERLAP = 9_000, 500  # the service takes texts of 10,000 characters
_SEVEREST = 7


class AzureContentSafety:
    """Scores prompts: severity 0 to 7 over 7, so that 4 ("medium") is over half. They leave the house."""

    name = "azure-content-safety"
    version = "1"
    stages = frozenset({Stage.PROMPT})
    categories: tuple[str, ...] = tuple(_OURS.values())

    def __init__(self, *, endpoint: str = "", timeout_s: float = 10.0) -> None:
        """Ask `endpoint` (or the one in `AZURE_CONTENT_SAFETY_ENDPOINT`); the key is in `…_KEY`.

        Raises:
            UsageError: without an endpoint.
        """
        self._service = _service(self.name, endpoint, "text", timeout_s)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each category and prompt; a long prompt is asked about in parts.

        Raises:
            GuardUnavailable: without a key, or without an answer that can be read in time.
        """
        out = []
        for subject in batch:
            began = time.perf_counter()
            text = subject.request.prompt.encode(errors="replace").decode() or " "
            scores = dict.fromkeys(self.categories, 0.0)
            for first in range(0, len(text), _LONGEST - _OVERLAP):
                body = {
                    "text": text[first : first + _LONGEST],
                    "categories": list(_OURS),
                    "outputType": "EightSeverityLevels",
                }
                for category, score in _ask(self._service, self.name, body).items():
                    scores[category] = max(scores[category], score)
                if first + _LONGEST >= len(text):
                    break
            ms = (time.perf_counter() - began) * 1000
            out.append(findings_of(self.name, self.version, scores, categories=self.categories, ms=ms))
        return out


class AzureImageContentSafety:
    """Scores pictures, by the severities 0, 2, 4 and 6 over 7. The pictures leave the house."""

    name = "azure-content-safety-images"
    version = "1"
    stages = frozenset({Stage.INPUT_MEDIA, Stage.OUTPUT})
    categories: tuple[str, ...] = tuple(_OURS.values())

    def __init__(self, *, endpoint: str = "", timeout_s: float = 10.0) -> None:
        """Ask `endpoint` (or the one in `AZURE_CONTENT_SAFETY_ENDPOINT`); the key is in `…_KEY`.

        Raises:
            UsageError: without an endpoint.
        """
        self._service = _service(self.name, endpoint, "image", timeout_s)

    def check(self, batch: Sequence[Subject]) -> list[list[Finding]]:
        """Return one finding for each category and picture.

        Raises:
            GuardUnavailable: without a key, an answer in time, or a picture that can be read.
        """
        out = []
        for subject in batch:
            began = time.perf_counter()
            data, _ = picture_of(self.name, subject)
            body = {
                "image": {"content": base64.b64encode(data).decode()},
                "categories": list(_OURS),
                "outputType": "FourSeverityLevels",
            }
            scores = _ask(self._service, self.name, body)
            ms = (time.perf_counter() - began) * 1000
            out.append(findings_of(self.name, self.version, scores, categories=self.categories, ms=ms))
        return out


def _service(guard: str, endpoint: str, kind: str, timeout_s: float) -> Service:
    base = (endpoint or os.environ.get(_ENDPOINT, "")).rstrip("/")
    if not base:
        raise UsageError(f"{guard}: no endpoint", hint=f"set {_ENDPOINT}")
    url = f"{base}/contentsafety/{kind}:analyze?api-version={_VERSION}"
    return Service(guard, url, key_variable=_KEY, timeout_s=timeout_s)


def _ask(service: Service, guard: str, body: Mapping[str, Any]) -> dict[str, float]:
    answer = service.ask(body, {"Ocp-Apim-Subscription-Key": "{key}"})
    rows = answer.get("categoriesAnalysis")
    out: dict[str, float] = {}
    for row in rows if isinstance(rows, list) else ():
        if not isinstance(row, dict) or row.get("category") not in _OURS:
            continue
        severity = row.get("severity")
        if isinstance(severity, bool) or not isinstance(severity, int) or not 0 <= severity <= _SEVEREST:
            raise GuardUnavailable(f"{guard}: the service gives a severity that is none")
        out[_OURS[row["category"]]] = severity / _SEVEREST
    missing = [name for name in _OURS.values() if name not in out]
    if missing:
        raise GuardUnavailable(f"{guard}: the service says nothing on {', '.join(missing)}")
    return out
