"""`check_use`: whether what a model was trained on is what may be trained on.

A training run keeps the keys of its items. Checked against the audit, the run is on record as made from the
version, under the policy with its digest; an item that is not allowed is named.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clearmark.core.errors import UsageError
from clearmark.provenance.training_data.auditing import ItemAudit, audit
from clearmark.provenance.training_data.data_policy import DataPolicy
from clearmark.provenance.training_data.items import Version
from clearmark.provenance.training_data.register import Register

__all__ = ["UseCheck", "check_use", "read_keys"]

_MAX_BYTES = 1024**3
_DUPLICATE = "duplicate"


@dataclass(frozen=True, kw_only=True)
class UseCheck:
    """`refused` are the used items that may not be trained on; `unknown` the keys that are not on record."""

    used: int
    refused: Sequence[ItemAudit]
    unknown: Sequence[str]

    @property
    def ok(self) -> bool:
        """Whether every item that was used may be."""
        return not self.refused and not self.unknown

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            "ok": self.ok,
            "used": self.used,
            "refused": [item.to_dict() for item in self.refused],
            "unknown": list(self.unknown),
        }


def check_use(
    register: Register, version: Version, keys: Collection[str], policy: DataPolicy | None = None
) -> UseCheck:
    """Compare the keys that a run used with the audit of their version.

    Near-copies are counted among what was used: which of them a run took is its own choice.
    """
    rules = policy or DataPolicy()
    wanted = set(keys)
    taken: Counter[int] = Counter()
    refused: list[ItemAudit] = []
    seen: set[str] = set()
    for outcome in audit(register, version, rules):
        if outcome.key not in wanted:
            continue
        seen.add(outcome.key)
        leader = outcome.copy_of or outcome.number
        if outcome.allowed or outcome.rule == _DUPLICATE:
            taken[leader] += 1
            if not rules.duplicates.max_copies or taken[leader] <= rules.duplicates.max_copies:
                continue
            because = f"{taken[leader] - 1} near-copies of it were used, too"
            outcome = ItemAudit(  # noqa: PLW2901  the audit's own word was about another choice of copies
                number=outcome.number,
                key=outcome.key,
                allowed=False,
                rule=_DUPLICATE,
                because=because,
                copy_of=outcome.copy_of,
            )
        refused.append(outcome)
    return UseCheck(used=len(wanted), refused=tuple(refused), unknown=tuple(sorted(wanted - seen)))


def read_keys(path: Path) -> tuple[str, ...]:
    """Read the keys of the items that a run used: a key a line, or JSON (a list, or `items` of one).

    An item of a JSON list is its key, or an object with `key` or `path`.

    Raises:
        UsageError: when the file cannot be read, or holds no keys.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise UsageError(f"{path}: larger than {_MAX_BYTES:,} bytes")
        text = path.read_text(encoding="utf-8")
    except OSError as exc:
        raise UsageError(f"{path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise UsageError(f"{path}: not UTF-8") from exc
    if not text.lstrip().startswith(("{", "[")):
        keys = [line.strip() for line in text.splitlines() if line.strip()]
    else:
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as exc:
            raise UsageError(f"{path}: not JSON") from exc
        rows = document.get("items") if isinstance(document, dict) else document
        keys = [_key(row) for row in rows] if isinstance(rows, list) else []
    if not keys or not all(keys):
        raise UsageError(f"{path} names no items", hint="a key a line, or a JSON list of keys")
    return tuple(keys)


def _key(row: Any) -> str:
    found = row.get("key") or row.get("path") if isinstance(row, dict) else row
    return found if isinstance(found, str) else ""
