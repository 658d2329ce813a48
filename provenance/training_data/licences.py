"""Licences of pictures and texts: from what a source says to an SPDX expression, and what it asks for.

The identifiers are those of the SPDX licence list. What a licence demands is told by its family, so that
`CC-BY-NC-SA-3.0-DE` needs no row of its own.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from clearmark.core.errors import UsageError

__all__ = ["NOASSERTION", "Traits", "identify", "is_expression", "matches", "read_expression", "traits"]

NOASSERTION = "NOASSERTION"

_ALIASES = {
    "cc0": "CC0-1.0", "cc-zero": "CC0-1.0", "cczero": "CC0-1.0", "creative commons zero": "CC0-1.0",
    "cc0 1.0": "CC0-1.0", "cc0 1.0 universal": "CC0-1.0", "cc0-1.0": "CC0-1.0",
    "public domain": "CC-PDDC", "publicdomain": "CC-PDDC", "pd": "CC-PDDC", "cc-pddc": "CC-PDDC",
    "pddl": "PDDL-1.0", "odc-by": "ODC-By-1.0", "odbl": "ODbL-1.0", "mit": "MIT", "mit license": "MIT",
    "apache-2.0": "Apache-2.0", "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0",
    "unlicense": "Unlicense", "ofl": "OFL-1.1", "gpl-2.0": "GPL-2.0-only", "gpl-3.0": "GPL-3.0-only",
    "gpl-2": "GPL-2.0-only", "gpl-3": "GPL-3.0-only", "agpl-3.0": "AGPL-3.0-only",
    "lgpl-3.0": "LGPL-3.0-only",
    "all rights reserved": "LicenseRef-all-rights-reserved", "proprietary": "LicenseRef-all-rights-reserved",
}  # fmt: skip
_SIMPLE = re.compile(
    r"(?:CC0-1\.0|CC-PDDC|CC-PDM-1\.0|CC-BY(?:-NC)?(?:-ND|-SA)?-[1-4]\.[05](?:-[A-Z]{2,3})?|PDDL-1\.0|ODC-By-1\.0"
    r"|ODbL-1\.0|CDLA-[A-Za-z]+-[0-9.]+|MIT(?:-0)?|Apache-2\.0|BSD-[0-9]-Clause|0BSD|ISC|Zlib|Unlicense|WTFPL"
    r"|OFL-1\.[01]|A?L?GPL-[0-9.]+(?:-only|-or-later)|GFDL-1\.[1-3](?:-only|-or-later)|FAL-1\.3|Artistic-2\.0"
    r"|OGL-UK-[0-9.]+|etalab-2\.0|MPL-2\.0|EUPL-1\.[12]|IJG|LicenseRef-[A-Za-z0-9.-]{1,100}|NOASSERTION|NONE)"
)
_CC = re.compile(
    r"creativecommons\.org/licen[cs]es/(?P<parts>[a-z-]+)/(?P<version>[1-4]\.[05])(?:/(?P<port>[a-z]{2,3})\b)?"
)
_CC_TEXT = re.compile(r"cc[ -](?P<parts>by(?:[ -](?:nc|nd|sa))*)[ -](?P<version>[1-4]\.[05])")
_GNU = re.compile(
    r"(?:creativecommons\.org/licenses/GPL/|gnu\.org/licenses/(?:old-licenses/)?gpl-)([23])\.0", re.I
)
_PUBLIC_DOMAIN = re.compile(r"web\.resource\.org/cc/publicdomain|creativecommons\.org/licenses/publicdomain")
_CC0 = re.compile(r"creativecommons\.org/publicdomain/zero/1\.0|creativecommons\.org/licenses/zero/1\.0")
_CC_MARK = re.compile(r"creativecommons\.org/publicdomain/mark/1\.0")
_MAX_TEXT = 2000


@dataclass(frozen=True, slots=True)
class Traits:
    """What a licence demands. All False for a public-domain dedication."""

    attribution: bool = False
    share_alike: bool = False
    non_commercial: bool = False
    no_derivatives: bool = False
    known: bool = True


@functools.lru_cache(maxsize=4096)
def identify(statement: str) -> str:
    """Return the SPDX expression for what a source says of its licence, or `NOASSERTION`.

    Never guesses: "free to use", a bare "Creative Commons" or "CC BY" without a version stay `NOASSERTION`.

    >>> identify("http://creativecommons.org/licenses/by-sa/3.0/de/")
    'CC-BY-SA-3.0-DE'
    >>> identify("free for everybody")
    'NOASSERTION'
    """
    text = " ".join(statement[:_MAX_TEXT].split())
    if is_expression(text):
        return text
    lower = text.lower()
    if lower in _ALIASES:
        return _ALIASES[lower]
    for pattern, spdx in ((_CC0, "CC0-1.0"), (_CC_MARK, "CC-PDM-1.0"), (_PUBLIC_DOMAIN, "CC-PDDC")):
        if pattern.search(lower):
            return spdx
    if gnu := _GNU.search(text):
        return f"GPL-{gnu[1]}.0-only"
    found = _CC.search(lower) or _CC_TEXT.fullmatch(lower)
    if found is None:
        return NOASSERTION
    groups = found.groupdict()
    parts = re.split(r"[ -]", groups["parts"])
    ordered = [part.upper() for part in ("by", "nc", "nd", "sa") if part in parts]
    port = f"-{groups['port'].upper()}" if groups.get("port") else ""
    spdx = f"CC-{'-'.join(ordered)}-{groups['version']}{port}"
    return spdx if len(ordered) == len(parts) and is_expression(spdx) else NOASSERTION


@functools.lru_cache(maxsize=4096)
def is_expression(text: str) -> bool:
    """Tell whether `text` is an SPDX expression of licences that are known here."""
    try:
        read_expression(text, lambda _: True)
    except UsageError:
        return False
    return True


def read_expression(text: str, holds: Callable[[str], bool]) -> bool:
    """Evaluate an SPDX expression: `A OR B` holds where one does, `A AND B` where both do.

    Raises:
        UsageError: when it is not a well-formed expression of known licences.
    """
    tokens = re.findall(r"[()]|[^\s()]+", text[:_MAX_TEXT])
    if not 0 < len(tokens) <= 100:
        raise UsageError("not an SPDX licence expression")
    value, rest = _either(tokens, 0, holds, 0)
    if rest != len(tokens):
        raise UsageError("not an SPDX licence expression")
    return value


def matches(spdx: str, pattern: str) -> bool:
    """Tell whether one licence id is meant by `pattern`, in which `*` stands for anything."""
    return fnmatchcase(spdx, pattern)


@functools.lru_cache(maxsize=4096)
def traits(spdx: str) -> Traits:
    """Return what one licence id demands; `known` is False for references and for `NOASSERTION`."""
    if spdx in {NOASSERTION, "NONE"} or spdx.startswith("LicenseRef-"):
        return Traits(known=False)
    if spdx.startswith("CC-BY"):
        parts = spdx.split("-")
        return Traits(True, "SA" in parts, "NC" in parts, "ND" in parts)
    if spdx in {"CC0-1.0", "CC-PDDC", "CC-PDM-1.0", "PDDL-1.0", "Unlicense", "0BSD", "MIT-0", "WTFPL"}:
        return Traits()
    share = spdx.startswith(
        ("GPL-", "AGPL-", "LGPL-", "GFDL-", "ODbL-", "FAL-", "CDLA-Sharing", "EUPL-", "MPL-", "OFL-")
    )
    return Traits(True, share)


def _either(tokens: list[str], at: int, holds: Callable[[str], bool], depth: int) -> tuple[bool, int]:
    value, at = _both(tokens, at, holds, depth)
    while at < len(tokens) and tokens[at] == "OR":
        other, at = _both(tokens, at + 1, holds, depth)
        value = value or other
    return value, at


def _both(tokens: list[str], at: int, holds: Callable[[str], bool], depth: int) -> tuple[bool, int]:
    value, at = _one(tokens, at, holds, depth)
    while at < len(tokens) and tokens[at] == "AND":
        other, at = _one(tokens, at + 1, holds, depth)
        value = value and other
    return value, at


def _one(tokens: list[str], at: int, holds: Callable[[str], bool], depth: int) -> tuple[bool, int]:
    word = tokens[at] if at < len(tokens) else ""
    if word == "(" and depth < 16:
        value, at = _either(tokens, at + 1, holds, depth + 1)
        if at >= len(tokens) or tokens[at] != ")":
            raise UsageError("not an SPDX licence expression")
        return value, at + 1
    if not _SIMPLE.fullmatch(word):
        raise UsageError("not an SPDX licence expression of known licences")
    return holds(word), at + 1
