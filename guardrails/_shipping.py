"""Put fitted weights where they ship, with their size and digest on record: for the commands that fit."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

__all__ = ["ship"]

_HERE = Path(__file__).parent


def ship(model: str, path: str, data: bytes, *, root: Path = _HERE) -> str:
    """Write `data` to `path` under `root` and into the entry of `model` in its catalogue; return the SHA-256.

    Without the record, weights fitted anew would be taken for damaged ones.

    Raises:
        LookupError: when the catalogue has no such entry. Nothing is written then.
    """
    file = root / "models" / "catalogue.json"
    catalogue = json.loads(file.read_text(encoding="utf-8"))
    (entry,) = [one for one in catalogue["models"] if one["id"] == model] or [None]
    if entry is None:
        raise LookupError(f"the catalogue has no model {model!r}")
    digest = hashlib.sha256(data).hexdigest()
    entry["files"] = [{"path": path, "sha256": digest, "size": len(data)}]
    target = root / path
    target.parent.mkdir(exist_ok=True)
    target.write_bytes(data)
    file.write_text(json.dumps(catalogue, indent=2) + "\n", encoding="utf-8")
    return digest
