"""The Dublin Core block of an SVG file, read without trusting the file.

expat opens nothing external; an entity may hold a short plain text and nothing else; reading stops at the end
of `<metadata>`, so that a drawing of any size costs little.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers import expat

__all__ = ["MAX_SVG", "Description", "UnsafeXml", "read_description"]

MAX_SVG = 4_000_000
"""Bytes of an SVG file that are looked at; the block stands near the top."""

_KEPT = ("creator", "publisher", "rights", "contributor", "description", "title", "date")
_MAX_CHARS = 4000
_MAX_KEYWORDS = 100


class UnsafeXml(ValueError):
    """Not well-formed, or built to harm its reader."""


@dataclass(frozen=True, slots=True)
class Description:
    """What an SVG file says about itself; empty where it says nothing."""

    title: str = ""
    creator: str = ""
    rights: str = ""
    description: str = ""
    date: str = ""
    licence: str = ""
    keywords: tuple[str, ...] = ()


class _Finished(Exception):
    """The block was read."""


@dataclass
class _Collector:
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
            self.keywords[-1] = (self.keywords[-1] + data)[:200]
            return
        kept = next((name for name in _KEPT if name in self.open), None)
        if kept is not None:
            self.texts[kept] = (self.texts.get(kept, "") + data)[:_MAX_CHARS]

    def entity(self, _name: str, _parameter: int, value: str | None, *_: object) -> None:
        self.entities += 1
        if value is None or len(value) > 200 or "&" in value or self.entities > 64:
            raise UnsafeXml("declares an entity that is external, nested or long")

    def value(self, name: str) -> str:
        return " ".join(self.texts.get(name, "").split())


def read_description(data: bytes) -> Description:
    """Read the block.

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
        raise UnsafeXml(f"not well-formed: {exc}") from exc
    return Description(
        title=seen.value("title"),
        creator=seen.value("creator"),
        rights=seen.value("rights"),
        description=seen.value("description"),
        date=seen.value("date"),
        licence=seen.licence,
        keywords=tuple(word for word in (" ".join(k.split()) for k in seen.keywords) if word),
    )
