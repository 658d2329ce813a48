"""The Dublin Core block of an SVG file, read without trusting the file.

SVG files are XML, and XML from strangers can carry entity bombs and references to other files. expat opens
nothing external here; an entity may hold a short plain text and nothing else; reading stops at the end of
`<metadata>`, which stands near the top, so that a drawing of any size costs little.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

from clearmark.core.errors import MediaError

__all__ = ["MAX_SVG", "PUBLIC_DOMAIN", "DublinCore", "UnsafeXml", "parse_dublin_core", "read_dublin_core"]

MAX_SVG = 4_000_000
"""Bytes of an SVG file that are looked at."""

PUBLIC_DOMAIN = (
    "http://web.resource.org/cc/PublicDomain",
    "http://creativecommons.org/licenses/publicdomain/",
    "http://creativecommons.org/publicdomain/zero/1.0/",
)
"""Licence addresses that dedicate a work to the public domain."""

_KEPT = ("creator", "publisher", "rights", "contributor", "description", "title", "date")
_MAX_CHARS = 4000
_MAX_KEYWORDS = 100
_MAX_KEYWORD = 200
_MAX_ENTITIES = 64
_MAX_ENTITY_CHARS = 200


class UnsafeXml(MediaError):
    """Not well-formed, or built to harm its reader."""


@dataclass(frozen=True, slots=True)
class DublinCore:
    """What an SVG file says about itself; empty where it says nothing."""

    title: str = ""
    creator: str = ""
    rights: str = ""
    description: str = ""
    date: str = ""
    licence: str = ""
    keywords: tuple[str, ...] = ()

    @property
    def is_public_domain(self) -> bool:
        """Whether the file names a public-domain dedication as its licence."""
        return self.licence in PUBLIC_DOMAIN


class _Finished(Exception):
    """The block was read."""


@dataclass
class _Collector:
    """Expat callbacks that keep the texts of interest, by the local names of the elements that are open."""

    open: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    licence: str = ""
    keywords: list[str] = field(default_factory=list)
    entities: int = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        self.open.append(local)
        if local == "li" and "subject" in self.open and len(self.keywords) < _MAX_KEYWORDS:
            self.keywords.append("")
        if local == "license" and not self.licence:
            self.licence = next((v for k, v in attributes.items() if k.endswith("resource")), "")[:500]

    def end(self, _: str) -> None:
        if self.open.pop() == "metadata":
            raise _Finished

    def text(self, data: str) -> None:
        if "metadata" not in self.open:
            return
        if self.open[-1] == "li" and "subject" in self.open and self.keywords:
            self.keywords[-1] = (self.keywords[-1] + data)[:_MAX_KEYWORD]
            return
        kept = next((name for name in _KEPT if name in self.open), None)
        if kept is not None:
            self.texts[kept] = (self.texts.get(kept, "") + data)[:_MAX_CHARS]

    def entity(self, _name: str, _parameter: int, value: str | None, *_: object) -> None:
        self.entities += 1
        harmless = value is not None and len(value) <= _MAX_ENTITY_CHARS and "&" not in value
        if not harmless or self.entities > _MAX_ENTITIES:
            raise UnsafeXml("declares an entity that is external, nested or long")

    def value(self, name: str) -> str:
        return " ".join(self.texts.get(name, "").split())


def read_dublin_core(path: Path) -> DublinCore:
    """Read the block of the SVG file at `path`.

    Raises:
        UnsafeXml: the file is not XML, or declares entities that could grow or reach outside.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        return parse_dublin_core(file.read(MAX_SVG))


def parse_dublin_core(data: bytes) -> DublinCore:
    """Read the block from the bytes of an SVG file.

    Raises:
        UnsafeXml: the bytes are not XML, or declare entities that could grow or reach outside.
    """
    seen = _Collector()
    parser = expat.ParserCreate()
    parser.StartElementHandler = seen.start
    parser.EndElementHandler = seen.end
    parser.CharacterDataHandler = seen.text
    parser.EntityDeclHandler = seen.entity
    try:
        parser.Parse(data[:MAX_SVG], True)
    except _Finished:
        pass
    except expat.ExpatError as exc:
        raise UnsafeXml(f"not well-formed XML: {exc}") from exc
    return DublinCore(
        title=seen.value("title"),
        creator=seen.value("creator"),
        rights=seen.value("rights"),
        description=seen.value("description"),
        date=seen.value("date"),
        licence=seen.licence,
        keywords=tuple(word for word in (" ".join(k.split()) for k in seen.keywords) if word),
    )
