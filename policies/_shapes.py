"""The shapes that a policy file is checked against, and the JSON Schema that editors get from them.

A shape turns a node into a plain value. It never stops at the first fault: it reports it and goes on, so that
a file's author sees them all. `None` stands for a value that is missing or at fault.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from clearmark.policies._nodes import Node
from clearmark.policies.diagnostics import Diagnostic, did_you_mean

__all__ = [
    "Bool",
    "Choice",
    "Faults",
    "Integer",
    "Key",
    "ListOf",
    "MapOf",
    "Number",
    "Obj",
    "OneOf",
    "Shape",
    "Text",
]


class Faults:
    """What is wrong with one file so far."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.found: list[Diagnostic] = []

    def add(
        self, node: Node, path: str, message: str, *, offset: int | None = None, severity: str = "error"
    ) -> None:
        """Note a fault at `node`, or `offset` characters into its text where the file has it as it is."""
        col = node.col if offset is None or not node.text_col else node.text_col + offset
        self.found.append(Diagnostic(self.source, node.line, col, path, message, severity))


class Shape(Protocol):
    """What a node must look like."""

    def check(self, node: Node, path: str, faults: Faults) -> Any:
        """Return the plain value, or None after noting what is wrong."""
        ...

    def schema(self) -> dict[str, Any]:
        """Return the JSON Schema (2020-12) of the shape."""
        ...


def _mismatch(node: Node, path: str, faults: Faults, wanted: str) -> None:
    names = {"map": "a map", "list": "a list", "str": "text", "int": "a number", "float": "a number"}
    names |= {"bool": "true or false", "null": "nothing"}
    faults.add(node, path, f"must be {wanted}, not {names[node.kind]}")


@dataclass(frozen=True, kw_only=True)
class Text:
    """Text of at most `longest` characters that matches `pattern` as a whole. `inspect` looks further."""

    what: str = "text"
    pattern: str = ""
    longest: int = 1000
    inspect: Callable[[Node, str, Faults], None] | None = None

    def check(self, node: Node, path: str, faults: Faults) -> str | None:
        if node.kind != "str":
            wanted = self.what if node.kind in ("map", "list", "null") else f"{self.what} (put it in quotes)"
            _mismatch(node, path, faults, wanted)
            return None
        text: str = node.value
        if not text.strip():
            faults.add(node, path, f"must be {self.what}, not empty text")
            return None
        # the pattern first, as it says more; the bound keeps it from long work
        if self.pattern and len(text) <= 1000 and not re.fullmatch(self.pattern, text):
            faults.add(node, path, f"{text[:80]!r} is not {self.what}")
            return None
        if len(text) > self.longest:
            faults.add(node, path, f"longer than {self.longest:,} characters")
            return None
        if self.inspect is not None:
            before = len(faults.found)
            self.inspect(node, path, faults)
            if any(fault.severity == "error" for fault in faults.found[before:]):
                return None
        return text

    def schema(self) -> dict[str, Any]:
        out: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": self.longest}
        if self.pattern:
            out["pattern"] = f"^(?:{self.pattern})$"
        return out


@dataclass(frozen=True)
class Choice:
    """One word of several, each with what it means."""

    words: Mapping[str, str] | tuple[str, ...]

    def check(self, node: Node, path: str, faults: Faults) -> str | None:
        if node.kind != "str":
            _mismatch(node, path, faults, f"one of {', '.join(self.words)}")
            return None
        if node.value not in self.words:
            hint = did_you_mean(node.value, self.words) or f"; one of {', '.join(self.words)}"
            faults.add(node, path, f"unknown word {node.value[:80]!r}{hint}")
            return None
        return str(node.value)

    def schema(self) -> dict[str, Any]:
        return {"enum": list(self.words)}


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number in [low, high]. Booleans and numbers in quotes are refused."""

    low: float
    high: float

    def check(self, node: Node, path: str, faults: Faults) -> float | None:
        if node.kind not in ("int", "float"):
            _mismatch(node, path, faults, "a number")
            return None
        if not self.low <= node.value <= self.high:
            faults.add(node, path, f"{node.value:g} is outside {self.low:g} to {self.high:g}")
            return None
        return float(node.value)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, kw_only=True)
class Integer:
    """A whole number in [low, high]."""

    low: int
    high: int

    def check(self, node: Node, path: str, faults: Faults) -> int | None:
        if node.kind != "int":
            _mismatch(node, path, faults, "a whole number")
            return None
        if not self.low <= node.value <= self.high:
            faults.add(node, path, f"{node.value} is outside {self.low} to {self.high}")
            return None
        return int(node.value)

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, kw_only=True)
class Bool:
    """`true` or `false`; with `only`, just that one, and `why` says what to write instead."""

    only: bool | None = None
    why: str = ""

    def check(self, node: Node, path: str, faults: Faults) -> bool | None:
        if node.kind != "bool":
            _mismatch(node, path, faults, "true or false")
            return None
        if self.only is not None and node.value is not self.only:
            faults.add(node, path, self.why)
            return None
        return bool(node.value)

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"} if self.only is None else {"const": self.only}


@dataclass(frozen=True, kw_only=True)
class ListOf:
    """A list of at least one and at most `most` items; with `unique`, none twice."""

    item: Shape
    most: int = 1000
    unique: bool = False

    def check(self, node: Node, path: str, faults: Faults) -> list[Any] | None:
        if node.kind != "list":
            _mismatch(node, path, faults, "a list")
            return None
        if not node.value:
            faults.add(node, path, "an empty list says nothing: leave it out")
            return None
        if len(node.value) > self.most:
            faults.add(node, path, f"more than {self.most:,} items")
            return None
        out: list[Any] = []
        for index, child in enumerate(node.value):
            value = self.item.check(child, f"{path}[{index}]", faults)
            if value is None:
                continue
            if self.unique and value in out:
                faults.add(child, f"{path}[{index}]", f"{value!r} stands here twice")
                continue
            out.append(value)
        return out

    def schema(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "type": "array",
            "items": self.item.schema(),
            "minItems": 1,
            "maxItems": self.most,
        }
        if self.unique:
            out["uniqueItems"] = True
        return out


@dataclass(frozen=True, kw_only=True)
class MapOf:
    """A map whose keys are of `keys` (a set of words, or a pattern) and whose values all have one shape."""

    keys: tuple[str, ...] | str
    what: str
    value: Shape
    most: int = 100

    def check(self, node: Node, path: str, faults: Faults) -> dict[str, Any] | None:
        if node.kind != "map":
            _mismatch(node, path, faults, f"a map by {self.what}")
            return None
        if not node.value:
            faults.add(node, path, "an empty map says nothing: leave it out")
            return None
        if len(node.value) > self.most:
            faults.add(node, path, f"more than {self.most} entries")
            return None
        out: dict[str, Any] = {}
        for key, child in node.value:
            where = f"{path}.{key.value[:80]}"
            if not self._knows(key.value):
                near = did_you_mean(key.value, self.keys) if isinstance(self.keys, tuple) else ""
                faults.add(key, where, f"unknown {self.what} {key.value[:80]!r}{near}")
                continue
            value = self.value.check(child, where, faults)
            if value is not None:
                out[key.value] = value
        return out

    def _knows(self, key: str) -> bool:
        if isinstance(self.keys, tuple):
            return key in self.keys
        return re.fullmatch(self.keys, key) is not None

    def schema(self) -> dict[str, Any]:
        out: dict[str, Any] = {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": self.value.schema(),
        }
        if isinstance(self.keys, tuple):
            out["propertyNames"] = {"enum": list(self.keys)}
        else:
            out["propertyNames"] = {"pattern": f"^(?:{self.keys})$"}
        return out


@dataclass(frozen=True, kw_only=True)
class Key:
    """A key of an `Obj`: its shape, whether it must be there, and what it is for."""

    shape: Shape
    about: str = ""
    required: bool = False


@dataclass(frozen=True, kw_only=True)
class Obj:
    """A map with known keys. `then` sees the sound values and all nodes, for rules that join several keys."""

    keys: Mapping[str, Key]
    about: str = ""
    then: Callable[[dict[str, Any], Mapping[str, Node], Node, str, Faults], None] | None = None
    hints: Mapping[str, str] = field(default_factory=dict)

    def check(self, node: Node, path: str, faults: Faults) -> dict[str, Any] | None:
        if node.kind != "map":
            _mismatch(node, path, faults, f"a map with {', '.join(self.keys)}")
            return None
        nodes: dict[str, Node] = {}
        out: dict[str, Any] = {}
        for key, child in node.value:
            where = f"{path}.{key.value[:80]}" if path else key.value[:80]
            if key.value not in self.keys:
                hint = self.hints.get(key.value) or did_you_mean(key.value, self.keys)
                faults.add(key, where, f"unknown key{hint}")
                continue
            nodes[key.value] = child
            value = self.keys[key.value].shape.check(child, where, faults)
            if value is not None:
                out[key.value] = value
        for name, key in self.keys.items():
            if key.required and name not in nodes:
                faults.add(node, path, f"{name} is missing")
        if self.then is not None:
            self.then(out, nodes, node, path, faults)
        return out

    def schema(self) -> dict[str, Any]:
        properties = {}
        for name, key in self.keys.items():
            properties[name] = key.shape.schema()
            if key.about:
                properties[name]["description"] = key.about
        out: dict[str, Any] = {"type": "object", "properties": properties, "additionalProperties": False}
        required = [name for name, key in self.keys.items() if key.required]
        if required:
            out["required"] = required
        if self.about:
            out["description"] = self.about
        return out


@dataclass(frozen=True, kw_only=True)
class OneOf:
    """One shape for maps, another for everything else."""

    simple: Shape
    complex: Shape

    def check(self, node: Node, path: str, faults: Faults) -> Any:
        return (self.complex if node.kind == "map" else self.simple).check(node, path, faults)

    def schema(self) -> dict[str, Any]:
        return {"anyOf": [self.simple.schema(), self.complex.schema()]}
