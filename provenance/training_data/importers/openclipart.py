"""The Open Clip Art collection as Debian packages it: `png/…` beside `svg/…` under the same relative names.

The SVG file of each picture says who made it and under which licence. A few files say neither; that the
package as a whole is a public-domain dedication is evidence, but not the word of their makers, so their
licence stays `NOASSERTION` and the data policy decides.
"""

from __future__ import annotations

import datetime as dt
import gzip
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from clearmark.core.dublin_core import MAX_SVG, DublinCore, UnsafeXml, parse_dublin_core
from clearmark.core.errors import UsageError
from clearmark.provenance.training_data.importers.source import (
    bounded_reader,
    files_under,
    fingerprint_of,
    inside,
    split_cursor,
)
from clearmark.provenance.training_data.items import Candidate, Fault, Licence
from clearmark.provenance.training_data.licences import NOASSERTION, identify

__all__ = ["OpenClipart"]

_PACKAGE = "openclipart-png"
_CHANGELOG = Path(f"/usr/share/doc/{_PACKAGE}/changelog.Debian.gz")
_LIST = Path(f"/var/lib/dpkg/info/{_PACKAGE}.list")
_DEBIAN_ROOT = Path("/usr/share/openclipart")


class OpenClipart:
    """The collection under `root`, which holds `png` and `svg`. The cursor counts pictures."""

    kind = "openclipart"
    batch = 64

    def __init__(self, root: Path) -> None:
        self.root = root
        self.location = str(root)
        self._png = root / "png"
        self._svg = root / "svg"
        self._names = files_under(self._png, (".png",))
        if not self._names or not self._svg.is_dir():
            raise UsageError(
                f"{root} does not hold png/ and svg/",
                hint="apt-get install openclipart-png openclipart-svg",
            )
        self.total: int | None = len(self._names)
        self.fingerprint = fingerprint_of(self._png, self._names, self.kind)
        packaged = root.resolve() == _DEBIAN_ROOT
        version = _package_version() if packaged else ""
        self.method = (
            f"Debian package {_PACKAGE} {version}".strip() if packaged else "copy of a Debian package"
        )
        self._acquired = _installed() if packaged else ""

    def read(self, cursor: str) -> Iterator[Candidate]:
        """Yield one candidate per PNG file, described by its SVG file."""
        (start,) = split_cursor(cursor, 1)
        for number, name in enumerate(self._names[start:], start):
            yield self._candidate(name, f"{number + 1}")

    def _candidate(self, name: str, cursor: str) -> Candidate:
        made = Candidate(
            key=name,
            cursor=cursor,
            source=str(self._png / name),
            category=name.split("/", maxsplit=1)[0],
            acquired=self._acquired,
        )
        path = inside(self._png, name)
        if path is None:
            made.fault = Fault("missing-file", "a link that leads nowhere, or out of the folder")
            return made
        made.load = bounded_reader(path)
        svg_name = name.rsplit(".", 1)[0] + ".svg"
        svg = inside(self._svg, svg_name)
        if svg is None:
            made.licence = Licence(NOASSERTION, "no SVG file describes it")
            return made
        try:
            with svg.open("rb") as stream:
                described = parse_dublin_core(stream.read(MAX_SVG))
        except (UnsafeXml, OSError) as exc:
            made.licence = Licence(NOASSERTION, f"its SVG file cannot be read: {exc}")
            return made
        made.creator = described.creator
        made.licence = _licence(described)
        made.caption = _caption(described, name)
        return made


def _licence(described: DublinCore) -> Licence:
    if not described.licence:
        return Licence(
            NOASSERTION, f"its SVG file names no licence; {_PACKAGE} declares the collection public domain"
        )
    return Licence(
        identify(described.licence), f"cc:license {described.licence} in the Dublin Core of its SVG file"
    )


def _caption(described: DublinCore, name: str) -> str:
    parts = [described.title or Path(name).stem.replace("_", " ")]
    parts += [word for word in described.keywords if word.casefold() != parts[0].casefold()]
    return ", ".join(parts)


def _package_version() -> str:
    try:
        with gzip.open(_CHANGELOG) as stream:
            head = stream.read(200).decode("utf-8", "replace")
    except (OSError, EOFError, zlib.error):
        return ""
    match = re.match(r"\S+ \(([^)]{1,80})\)", head)
    return match[1] if match else ""


def _installed() -> str:
    """Return the day on which dpkg wrote the list of the package's files, UTC."""
    try:
        moment = _LIST.stat().st_mtime
    except OSError:
        return ""
    return dt.datetime.fromtimestamp(moment, dt.UTC).date().isoformat()
