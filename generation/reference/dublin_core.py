"""Read the Dublin Core block of an SVG file without trusting the file.

SVG files are XML, and XML from strangers can carry entity bombs and references to other files. The parser
here is expat with three limits: nothing external is ever opened, an entity may hold only a short plain text,
and reading stops at the end of `<metadata>`, which stands near the top, so any drawing costs little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from xml.parsers import expat

_MAX_BYTES = 4_000_000
_MAX_ENTITY_CHARS = 200
_MAX_ENTITIES = 64
_SPACE = re.compile(r"\s+")

PUBLIC_DOMAIN = (
    "http://web.resource.org/cc/PublicDomain",
    "http://creativecommons.org/licenses/publicdomain/",
    "http://creativecommons.org/publicdomain/zero/1.0/",
)
"""Licence addresses that dedicate a work to the public domain."""


class UnreadableMetadata(ValueError):
    """The file is not well-formed XML, or is built to harm its reader."""


@dataclass(frozen=True, slots=True)
class DublinCore:
    """What an SVG file says about itself. Empty strings stand for what it leaves out."""

    title: str = ""
    creator: str = ""
    description: str = ""
    licence: str = ""
    keywords: tuple[str, ...] = ()

    @property
    def is_public_domain(self) -> bool:
        """Whether the file names a public-domain dedication as its licence."""
        return self.licence in PUBLIC_DOMAIN


class _Done(Exception):
    """Raised inside the parser to stop at `</metadata>`."""


@dataclass
class _Reader:
    """Expat callbacks that keep the texts of interest, keyed by the path of local names."""

    path: list[str] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)
    licence: str = ""
    entities: int = 0
    keywords: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(":")[2]
        self.path.append(local)
        if local == "li":
            self.keywords.append("")
        if local == "license" and not self.licence:
            self.licence = next((v for k, v in attributes.items() if k.endswith("resource")), "")

    def end(self, _name: str) -> None:
        if self.path.pop() == "metadata":
            raise _Done

    def text(self, data: str) -> None:
        if "metadata" not in self.path:
            return
        if self.path[-1] == "li" and "subject" in self.path:
            self.keywords[-1] += data
            return
        for kept in ("creator", "publisher", "rights", "contributor", "description", "title"):
            if kept in self.path:
                self.texts.setdefault(kept, []).append(data)
                return

    def entity(self, _name: str, _parameter: int, value: str | None, *_: object) -> None:
        self.entities += 1
        harmless = value is not None and len(value) <= _MAX_ENTITY_CHARS and "&" not in value
        if not harmless or self.entities > _MAX_ENTITIES:
            raise UnreadableMetadata("the file declares an entity that is external, nested or long")

    def value(self, key: str) -> str:
        return _SPACE.sub(" ", "".join(self.texts.get(key, []))).strip()


def read_dublin_core(path: Path) -> DublinCore:
    """Read title, creator, keywords, description and licence of the SVG file at `path`.

    Raises:
        UnreadableMetadata: the file is not XML, or declares entities that could expand or reach outside.
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        return parse_dublin_core(file.read(_MAX_BYTES))


def parse_dublin_core(data: bytes) -> DublinCore:
    """Read the Dublin Core block from the bytes of an SVG file; see `read_dublin_core`."""
    reader = _Reader()
    parser = expat.ParserCreate()
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = reader.entity
    try:
        parser.Parse(data, True)
    except _Done:
        pass
    except expat.ExpatError as exc:
        raise UnreadableMetadata(f"not well-formed XML: {exc}") from exc
    keywords = (_SPACE.sub(" ", word).strip() for word in reader.keywords)
    return DublinCore(
        title=reader.value("title"),
        creator=reader.value("creator"),
        description=reader.value("description"),
        licence=reader.licence,
        keywords=tuple(word for word in keywords if word),
    )
