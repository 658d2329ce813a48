"""What is wrong with a policy file: one `Diagnostic` per fault, and the error that carries them all."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from clearmark.core.errors import PolicyError

__all__ = ["Diagnostic", "InvalidPolicy", "did_you_mean"]

_SHOWN = 100


@dataclass(frozen=True, order=True)
class Diagnostic:
    """One fault: where (line and column count from 1, 0 where the whole file is meant) and what.

    `path` is where in the document, such as `rules[2].when`. `severity` is `error` or `warning`; a file with
    an error does not load.
    """

    source: str
    line: int
    col: int
    path: str
    message: str
    severity: str = "error"

    def render(self) -> str:
        """Return `file:line:col: path: message`, as editors and build tools parse it."""
        where = f"{self.source}:{self.line}:{self.col}"
        what = self.message if self.severity == "error" else f"{self.severity}: {self.message}"
        return f"{where}: {self.path}: {what}" if self.path else f"{where}: {what}"

    def to_dict(self) -> dict[str, str | int]:
        """Return the JSON form."""
        return {
            "source": self.source,
            "line": self.line,
            "col": self.col,
            "path": self.path,
            "message": self.message,
            "severity": self.severity,
        }


class InvalidPolicy(PolicyError):
    """A policy file with faults. `diagnostics_list` holds every one of them in file order."""

    def __init__(self, source: str, faults: Sequence[Diagnostic]) -> None:
        self.source = source
        self.diagnostics_list: tuple[Diagnostic, ...] = tuple(sorted(faults))
        count = len(self.diagnostics_list)
        super().__init__(
            f"{source} is no valid policy: {count} fault{'' if count == 1 else 's'}",
            hint="mend the lines above; `clearmark policy lint FILE` checks again",
        )

    def diagnostics(self) -> str:
        """Return every fault on a line of its own, then what to do."""
        lines = [fault.render() for fault in self.diagnostics_list[:_SHOWN]]
        if len(self.diagnostics_list) > _SHOWN:
            lines.append(f"… and {len(self.diagnostics_list) - _SHOWN} more")
        return "\n".join([*lines, self.hint])


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` (did you mean …?)` for a near miss, nothing otherwise."""
    near = difflib.get_close_matches(word[:80], list(known), n=1, cutoff=0.6)
    return f" (did you mean {near[0]}?)" if near else ""
