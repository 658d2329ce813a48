"""XMP packets: our fields merged into what a picture already says, and read back.

Parsed with defusedxml: entities, external references and document types are refused. Properties of others
stay as they are; ours replace earlier ones of the same name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmark.core.errors import MediaError
from clearmark.provenance._containers import MAX_PACKET

__all__ = ["AIGC", "IPTC_EXT", "merge", "parse"]

IPTC_EXT = "http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
"""Namespace of the IPTC Extension schema."""

AIGC = "http://www.tc260.org.cn/ns/AIGC/1.0/"
"""Namespace of the label that GB 45438 asks for."""

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XMLNS = "http://www.w3.org/2000/xmlns/"
_NOTE = "http://ns.adobe.com/xmp/note/"
_PREFIXES = {IPTC_EXT: "Iptc4xmpExt", AIGC: "TC260"}
_MAX_DEPTH = 64
_HEAD = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
_TAIL = '\n<?xpacket end="w"?>'
_EMPTY = f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{_RDF}"/></x:xmpmeta>'

Field = tuple[str, str]
"""Namespace and local name."""


def merge(packet: bytes | None, fields: Mapping[Field, str]) -> bytes:
    """Return `packet` with `fields` in it; a packet that cannot be read safely is replaced by a new one."""
    try:
        document = _read(packet) if packet else _read(_EMPTY.encode())
    except MediaError:
        document = _read(_EMPTY.encode())
    rdf = document.getElementsByTagNameNS(_RDF, "RDF")[0]
    descriptions = _descriptions(rdf)
    # What others kept in a second JPEG segment is not carried over, so the note that points to it goes, too.
    for description in descriptions:
        for namespace, name in [*fields, (_NOTE, "HasExtendedXMP")]:
            _remove(description, namespace, name)
    about = descriptions[0].getAttributeNS(_RDF, "about") if descriptions else ""
    for description in descriptions:
        if _is_empty(description):
            rdf.removeChild(description)
    ours = document.createElementNS(_RDF, f"{rdf.prefix or 'rdf'}:Description")
    ours.setAttributeNS(_RDF, f"{rdf.prefix or 'rdf'}:about", about)
    for (namespace, name), value in fields.items():
        prefix = _PREFIXES.get(namespace, "ns")
        ours.setAttributeNS(_XMLNS, f"xmlns:{prefix}", namespace)
        element = document.createElementNS(namespace, f"{prefix}:{name}")
        element.appendChild(document.createTextNode(_printable(value)))
        ours.appendChild(element)
    rdf.appendChild(ours)
    text: str = document.documentElement.toxml()
    return (_HEAD + text + _TAIL).encode()


def parse(packet: bytes) -> dict[Field, str]:
    """Return the simple properties of a packet, written as elements or as attributes.

    Raises:
        MediaError: when it is too large, too deep, not XML, or not RDF.
    """
    found: dict[Field, str] = {}
    rdf = _read(packet).getElementsByTagNameNS(_RDF, "RDF")[0]
    for description in _descriptions(rdf):
        for attribute in list(description.attributes.values()):
            if attribute.namespaceURI not in {None, _RDF, _XMLNS}:
                found.setdefault((attribute.namespaceURI, attribute.localName), attribute.value)
        for child in _elements(description):
            if child.namespaceURI is not None:
                value = child.getAttributeNS(_RDF, "resource") or _content(child)
                found.setdefault((child.namespaceURI, child.localName), value)
    return found


def _read(packet: bytes) -> Any:
    from xml.parsers.expat import ExpatError

    from defusedxml import minidom
    from defusedxml.common import DefusedXmlException

    if len(packet) > MAX_PACKET:
        raise MediaError(f"an XMP packet of {len(packet):,} bytes; at most {MAX_PACKET:,} are read")
    try:
        document = minidom.parseString(packet.strip(b"\x00 \t\r\n"), forbid_dtd=True)
    except (ExpatError, DefusedXmlException, ValueError, UnicodeError, AttributeError) as exc:
        raise MediaError(f"the XMP packet is not safe XML: {type(exc).__name__}") from exc
    if _too_deep(document.documentElement) or not document.getElementsByTagNameNS(_RDF, "RDF"):
        raise MediaError("the XMP packet holds no RDF, or is nested too deep")
    return document


def _too_deep(root: Any) -> bool:
    """Walk level by level: recursion is what a deep document would exhaust."""
    level = [root]
    for _ in range(_MAX_DEPTH):
        level = [child for node in level for child in _elements(node)]
        if not level:
            return False
    return True


def _elements(node: Any) -> list[Any]:
    return [child for child in node.childNodes if child.nodeType == child.ELEMENT_NODE]


def _descriptions(rdf: Any) -> list[Any]:
    return [node for node in _elements(rdf) if node.namespaceURI == _RDF and node.localName == "Description"]


def _content(node: Any) -> str:
    """Return the text of a property; of an array or a language alternative, its first item."""
    while _elements(node):
        node = _elements(node)[0]
    return "".join(
        child.data
        for child in node.childNodes
        if child.nodeType in {child.TEXT_NODE, child.CDATA_SECTION_NODE}
    ).strip()


def _remove(description: Any, namespace: str, name: str) -> None:
    if description.hasAttributeNS(namespace, name):
        description.removeAttributeNS(namespace, name)
    for child in _elements(description):
        if child.namespaceURI == namespace and child.localName == name:
            description.removeChild(child)


def _is_empty(description: Any) -> bool:
    names = [attribute.namespaceURI for attribute in description.attributes.values()]
    return not _elements(description) and all(name in {_RDF, _XMLNS} for name in names)


def _printable(value: str) -> str:
    """Leave out what XML 1.0 cannot hold."""
    return "".join(char for char in value if char.isprintable())
