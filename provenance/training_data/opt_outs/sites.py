"""What a crawler kept of each site: a folder per host with the files that say who may mine.

`HOST/robots.txt`, `HOST/ai.txt` and `HOST/tdmrep.json` (also under `HOST/.well-known/`). When a file was read
is its modification time. Host names come from addresses of strangers, so they are checked before they become
paths.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path
from urllib.parse import urlsplit

from clearmark.provenance.training_data.items import Signal
from clearmark.provenance.training_data.opt_outs.robots import read_robots
from clearmark.provenance.training_data.opt_outs.tdmrep import read_tdmrep

__all__ = ["Sites"]

_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_MAX = 512 * 1024


class Sites:
    """Reads `folder` host by host, each host once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = functools.lru_cache(maxsize=10_000)(self._load)

    def read(self, url: str) -> tuple[tuple[Signal, ...], bool]:
        """Return the signals of the site of `url`, and whether anything of that site was read at all."""
        try:
            parts = urlsplit(url)
            host = (parts.hostname or "").lower()
        except ValueError:
            return (), False
        if parts.scheme not in {"http", "https"} or not _HOST.fullmatch(host) or ".." in host:
            return (), False
        files = self._files(host)
        signals: list[Signal] = []
        for name, text, read_us in files:
            place = f"https://{host}/{name}"
            if name.endswith("tdmrep.json"):
                signals.extend(read_tdmrep(text, url, place=place, read_us=read_us))
            else:
                kind = "robots" if name == "robots.txt" else "ai.txt"
                signals.extend(read_robots(text, url, place=place, kind=kind, read_us=read_us))
        return tuple(signals), bool(files)

    def _load(self, host: str) -> tuple[tuple[str, str, int], ...]:
        found = []
        for name in ("robots.txt", "ai.txt", ".well-known/tdmrep.json", "tdmrep.json"):
            path = self._folder / host / name
            try:
                with path.open("rb") as stream:
                    text = stream.read(_MAX).decode("utf-8", "replace")
                found.append((name, text, path.stat().st_mtime_ns // 1000))
            except OSError:
                continue
        return tuple(found)
