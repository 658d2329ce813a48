"""One validation result, as the library gives it and as our own checks do."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["Check", "plain_text"]

_MAX_TEXT = 512


@dataclass(frozen=True, kw_only=True)
class Check:
    """One validation result: a code of the C2PA specification (section 15.2), and its meaning in words."""

    code: str
    explanation: str
    passed: bool | None

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form; `passed` is null for what is only informational."""
        return {"code": self.code, "explanation": self.explanation, "passed": self.passed}


def plain_text(value: Any) -> str:
    """Bound what a file may put into our output, and keep control characters out of terminals."""
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return "".join(char if char.isprintable() else " " for char in text[:_MAX_TEXT])
