"""`DataPolicy`: which items may be trained on. A file of YAML, or the default below.

A small part of YAML is read: no anchors, aliases or tags, so a file cannot grow when it is read. Words that
let a reservation pass are named `unsafe_…`, and stand in the digest that a model's record names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from clearmark.core.canonical import digest
from clearmark.core.errors import PolicyError
from clearmark.provenance.training_data.licences import identify

__all__ = ["DataPolicy", "Duplicates", "Licences", "OptOuts", "PersonalData", "Screens"]

MAX_BYTES = 64 * 1024
_MAX_DEPTH = 8
_MAX_EVENTS = 10_000
T = TypeVar("T")

_PERMISSIVE = (
    "CC0-1.0", "CC-PDDC", "CC-PDM-1.0", "PDDL-1.0", "Unlicense", "0BSD", "MIT", "MIT-0", "Apache-2.0",
    "BSD-*-Clause", "ISC", "Zlib", "CC-BY-[1-4].*", "ODC-By-1.0", "CDLA-Permissive-*", "OGL-UK-*",
    "etalab-2.0",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Licences:
    """`deny` outweighs `allow`; both hold SPDX ids in which `*` stands for anything.

    `unknown` is about items without a licence that could be told; the others are about what a licence asks.
    A licence that passes them must still be matched by `allow`.
    """

    allow: tuple[str, ...] = _PERMISSIVE
    deny: tuple[str, ...] = ()
    unknown: str = "deny"
    share_alike: str = "deny"
    non_commercial: str = "deny"
    no_derivatives: str = "deny"


@dataclass(frozen=True, kw_only=True)
class OptOuts:
    """What a reservation does, and what it does that nobody looked for one."""

    reserved: str = "deny"
    unread: str = "allow"


@dataclass(frozen=True, kw_only=True)
class PersonalData:
    """Addresses in captions; faces, which need the consent of who is shown; and whether consent is a must."""

    contact_in_caption: str = "deny"
    faces: str = "with-consent"
    consent: str = "not-refused"


@dataclass(frozen=True, kw_only=True)
class Screens:
    """The highest score in [0, 1] of each category that may pass; `required` ones must have been measured.

    `blank` is 1 for a picture of one colour, which teaches a model nothing.

    Known abuse material never passes, whatever stands here.
    """

    limits: Mapping[str, float] = field(default_factory=lambda: {"blank": 0.5, "nsfw": 0.5, "watermark": 0.8})
    required: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """How many near-copies of one picture may be trained on; 0 is any number.

    Two are near-copies whose perceptual hashes differ in at most `distance` of 64 bits, and whose 8 x 8
    thumbnails differ by at most `colours` levels of 255 (root mean square).
    """

    max_copies: int = 1
    distance: int = 3
    colours: int = 6


@dataclass(frozen=True, kw_only=True)
class DataPolicy:
    """All rules. An item may be trained on when none of them speaks against it."""

    name: str = "default"
    version: str = "1"
    licences: Licences = field(default_factory=Licences)
    opt_outs: OptOuts = field(default_factory=OptOuts)
    personal_data: PersonalData = field(default_factory=PersonalData)
    screens: Screens = field(default_factory=Screens)
    duplicates: Duplicates = field(default_factory=Duplicates)

    @classmethod
    def load(cls, name_or_path: str | Path) -> DataPolicy:
        """Read a file; `default` is the policy that needs none.

        Raises:
            PolicyError: when it cannot be read, does not parse, or names what is not known.
        """
        if name_or_path == "default":
            return cls()
        path = Path(name_or_path)
        try:
            with path.open("rb") as stream:
                raw = stream.read(MAX_BYTES + 1)
        except OSError as exc:
            raise PolicyError(
                f"data policy {path}: {exc.strerror}", hint="name a file, or `default`"
            ) from exc
        if len(raw) > MAX_BYTES:
            raise PolicyError(f"data policy {path}: more than {MAX_BYTES:,} bytes")
        return cls.parse(raw.decode("utf-8", "replace"), source=str(path))

    @classmethod
    def parse(cls, text: str, source: str = "<text>") -> DataPolicy:
        """Read the text of a policy; what it leaves out is as in the default.

        Raises:
            PolicyError: with the place and what is wrong.
        """
        document = _read_yaml(text, source)
        try:
            parts = {
                "licences": _section(Licences, document.pop("licences", {}), "licences"),
                "opt_outs": _section(OptOuts, document.pop("opt_outs", {}), "opt_outs"),
                "personal_data": _section(PersonalData, document.pop("personal_data", {}), "personal_data"),
                "screens": _section(Screens, document.pop("screens", {}), "screens"),
                "duplicates": _section(Duplicates, document.pop("duplicates", {}), "duplicates"),
            }
            names = {key: str(document.pop(key)) for key in ("name", "version") if key in document}
            if document:
                raise _Wrong(f"{sorted(map(str, document))[0]} is no part of a data policy")
            made = cls(**names, **parts)  # type: ignore[arg-type]  # each part was made by its own class
            _check(made)
        except _Wrong as exc:
            raise PolicyError(f"data policy {source}: {exc}") from exc
        return made

    def to_dict(self) -> dict[str, Any]:
        """Return the JSON form, scores as micro-units."""
        out = asdict(self)
        out["screens"]["limits"] = {
            name: round(limit * 1_000_000) for name, limit in sorted(self.screens.limits.items())
        }
        return out

    @cached_property
    def digest(self) -> str:
        """`sha256:…` of the canonical form."""
        return digest(self.to_dict())


class _Wrong(Exception):
    """What is wrong with a policy, in words."""


_WORDS: Mapping[str, tuple[str, ...]] = {
    "licences.unknown": ("deny", "allow"),
    "licences.share_alike": ("deny", "allow"),
    "licences.non_commercial": ("deny", "allow"),
    "licences.no_derivatives": ("deny", "allow"),
    "opt_outs.reserved": ("deny", "unsafe_allow"),
    "opt_outs.unread": ("deny", "allow"),
    "personal_data.contact_in_caption": ("deny", "allow"),
    "personal_data.faces": ("deny", "with-consent", "allow"),
    "personal_data.consent": ("required", "not-refused"),
}


def _section(kind: type[T], given: Any, name: str) -> T:
    if not isinstance(given, Mapping):
        raise _Wrong(f"{name} must be a map")
    known = {part.name: part for part in fields(kind)}  # type: ignore[arg-type]  # only dataclasses come here
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise _Wrong(f"{name}.{key} is not known; one of: {', '.join(known)}")
        place = f"{name}.{key}"
        default = getattr(kind(), key)
        if place in _WORDS:
            if value not in _WORDS[place]:
                raise _Wrong(f"{place} must be one of: {', '.join(_WORDS[place])}")
            values[key] = value
        elif isinstance(default, tuple):
            if not isinstance(value, Sequence) or not all(isinstance(item, str) for item in value):
                raise _Wrong(f"{place} must be a list of words")
            values[key] = tuple(value) if not isinstance(value, str) else (value,)
        elif isinstance(default, int):
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 255:
                raise _Wrong(f"{place} must be a whole number, 0 to 255")
            values[key] = value
        else:
            values[key] = _limits(value, place)
    return kind(**values)


def _limits(value: Any, place: str) -> dict[str, float]:
    if not isinstance(value, Mapping):
        raise _Wrong(f"{place} must be a map from category to score")
    limits: dict[str, float] = {}
    for name, limit in value.items():
        if not isinstance(limit, int | float) or isinstance(limit, bool) or not 0 <= limit <= 1:
            raise _Wrong(f"{place}.{name} must be a score from 0 to 1")
        limits[str(name)] = float(limit)
    return limits


def _check(policy: DataPolicy) -> None:
    if not policy.licences.allow:
        raise _Wrong("licences.allow is empty: nothing could be trained on")
    if policy.duplicates.distance > 7:
        raise _Wrong("duplicates.distance is at most 7 of 64 bits")
    for pattern in (*policy.licences.allow, *policy.licences.deny):
        if "*" not in pattern and "[" not in pattern and identify(pattern) != pattern:
            raise _Wrong(f"{pattern!r} is no SPDX licence id that is known here")


def _read_yaml(text: str, source: str) -> dict[str, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml import events as ev
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        depth = 0
        # Events come as the text is scanned, so a text that is nested too deep is left before it costs much.
        for number, event in enumerate(YAML(typ="safe", pure=True).parse(text)):
            depth += isinstance(event, ev.CollectionStartEvent) - isinstance(event, ev.CollectionEndEvent)
            if depth > _MAX_DEPTH or number > _MAX_EVENTS:
                raise PolicyError(f"data policy {source}: nested too deep, or too long")
            anchored = isinstance(event, ev.AliasEvent) or getattr(event, "anchor", None) is not None
            if anchored or getattr(event, "tag", None) is not None:
                line = event.start_mark.line + 1
                raise PolicyError(f"data policy {source}:{line}: anchors, aliases and tags are not read")
        document = YAML(typ="safe", pure=True).load(text)
    except MarkedYAMLError as exc:
        line = exc.problem_mark.line + 1 if exc.problem_mark else 0
        raise PolicyError(f"data policy {source}:{line}: not YAML: {exc.problem}") from exc
    except (YAMLError, ValueError, RecursionError, TypeError, AttributeError) as exc:
        raise PolicyError(f"data policy {source}: not YAML: {type(exc).__name__}") from exc
    if not isinstance(document, dict):
        raise PolicyError(f"data policy {source}: a policy is a map")
    return dict(document)
