"""Conditions of rules: CEL, checked when a policy is loaded and compiled once.

The language is the Common Expression Language as the Rust package `common-expression-language` reads it,
over four names: `request`, `scores`, `facts`, `stage`. CEL has no loops and no side effects; length, nesting
and the number of macros are bounded here, so a condition costs microseconds. Names are checked against what
can exist: a condition on `scores.sexaul` would otherwise fail at every request, not once in the editor.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from clearmark.core import CATEGORIES, Task
from clearmark.policies.diagnostics import did_you_mean

__all__ = [
    "REQUEST_FIELDS",
    "Problem",
    "Reads",
    "Token",
    "categories",
    "compile_condition",
    "compile_together",
    "evaluate",
    "evaluate_together",
    "inspect_condition",
    "reads",
    "tokens",
]

MAX_CHARS = 2000
_MAX_DEPTH = 24
_MAX_MACROS = 2
_MAX_COMMAS = 40
NOT_A_BOOLEAN = "NotABoolean"
_ROOTS = ("request", "scores", "facts", "stage")
_WORDS = frozenset({"true", "false", "null", "in"})
_MACROS = frozenset({"all", "exists", "exists_one", "map", "filter"})
_FUNCTIONS = frozenset({"has", "size", "int", "double", "string"})
_METHODS = frozenset({"contains", "startsWith", "endsWith", "matches", "size"}) | _MACROS

Reads: TypeAlias = "Mapping[str, frozenset[str] | None]"
"""By root name (`request`, `scores`, `facts`): the entries that are read; None where that cannot be told."""

REQUEST_FIELDS: Mapping[str, str] = {
    "task": "str",
    "n": "int",
    "width": "int",
    "height": "int",
    "steps": "int",
    "guidance": "float",
    "strength": "float",
    "has_init_image": "bool",
    "has_mask": "bool",
    "has_seed": "bool",
    "prompt_chars": "int",
    "negative_prompt_chars": "int",
    "region": "str",
    "purpose": "str",
    "consents": "int",
}
"""What a condition may read of a request, and its type. Nothing personal: no prompt, no actor."""

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n]+|//[^\n]*)
      | (?P<string>[rRbB]{0,2}(?:"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
      | (?P<number>0[xX][0-9a-fA-F]+[uU]?|(?:[0-9]+\.[0-9]+|\.[0-9]+|[0-9]+)(?:[eE][-+]?[0-9]+)?[uU]?)
      | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
      | (?P<sign>==|!=|<=|>=|&&|\|\||[-+*/%<>!?:.,()\[\]{}])
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """A token: `kind` is string, number, name or sign; `at` is its first character."""

    kind: str
    text: str
    at: int

    @property
    def plain(self) -> str:
        """The content of a string without escapes, the text of everything else."""
        return self.text[1:-1] if self.kind == "string" and self.text[0] in "'\"" else self.text


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a condition, and at which character; None where all of it is meant."""

    at: int | None
    message: str


def tokens(source: str) -> Iterator[Token]:
    """Split a condition into tokens; what is no CEL comes as a token of kind `other`."""
    at = 0
    while at < len(source):
        match = _TOKEN.match(source, at)
        if match is None:
            yield Token("other", source[at], at)
            at += 1
            continue
        if match.lastgroup is not None and match.lastgroup != "space":
            yield Token(match.lastgroup, match.group(), at)
        at = match.end()


def compile_condition(source: str) -> Any:
    """Return the compiled program; ValueError where the source is no CEL."""
    import cel

    try:
        return cel.compile(source)
    except (ValueError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # a panic of the library is no Exception
        raise ValueError(type(exc).__name__) from exc


def evaluate(program: Any, variables: Any) -> tuple[bool, str]:
    """Return whether a condition holds, and the name of its fault; a faulty condition holds."""
    try:
        outcome = program.execute(variables)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as exc:  # noqa: BLE001  CEL's faults are many builtin classes, a panic is no Exception
        return True, type(exc).__name__
    return (outcome, "") if outcome is True or outcome is False else (True, NOT_A_BOOLEAN)


def compile_together(sources: Iterable[str]) -> Any:
    """Return one program that gives the outcomes of all conditions as a list; None without any.

    A call of CEL costs as much as a short condition, so a hundred rules are asked in one.
    """
    parts = [f"({source}\n)" for source in sources]  # a condition may end in a comment
    return compile_condition(f"[{','.join(parts)}]") if parts else None


def evaluate_together(program: Any, variables: Any, count: int) -> list[bool] | None:
    """Return the outcomes of `count` conditions; None where any has a fault, which one must then be asked."""
    try:
        outcomes = program.execute(variables)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  as in `evaluate`
        return None
    sound = isinstance(outcomes, list) and len(outcomes) == count
    return outcomes if sound and all(item is True or item is False for item in outcomes) else None


def categories(source: str) -> tuple[str, ...]:
    """Return the categories whose scores a condition reads, sorted."""
    stream = list(tokens(source))
    found = set()
    for index, token in enumerate(stream[:-2]):
        if token.text == "scores" and stream[index + 1].text in (".", "["):
            found.add(stream[index + 2].plain)
    return tuple(sorted(found & set(CATEGORIES)))


def reads(sources: Iterable[str]) -> Reads:
    """Return which entries of `request`, `scores` and `facts` the conditions can read."""
    found: dict[str, set[str] | None] = {"request": set(), "scores": set(), "facts": set()}
    for source in sources:
        stream = list(tokens(source))
        for index, token in enumerate(stream):
            if token.text not in found or token.kind != "name":
                continue
            entry = _entry(stream, index)
            names = found[token.text]
            if entry is None:
                found[token.text] = None
            elif names is not None:
                names.add(entry)
    return {root: None if names is None else frozenset(names) for root, names in found.items()}


def _entry(stream: list[Token], index: int) -> str | None:
    """Return which entry of the root at `index` is read (`.x`, `["x"]`, `"x" in`); None for anything else."""

    def at(offset: int) -> Token:
        spot = index + offset
        return stream[spot] if 0 <= spot < len(stream) else Token("end", "", 0)

    if at(1).text == "." and at(2).kind == "name" and at(3).text != "(":
        return at(2).text
    if at(1).text == "[" and at(2).kind == "string" and at(3).text == "]":
        return at(2).plain if _literal(at(2)) else None
    alone = at(-3).kind == "end" or at(-3).text in ("(", "!", "&&", "||")
    if at(-1).text == "in" and at(-2).kind == "string" and alone and at(1).text not in (".", "["):
        return at(-2).plain if _literal(at(-2)) else None
    return None


def _literal(token: Token) -> bool:
    return token.text[0] in "'\"" and "\\" not in token.text


def inspect_condition(source: str) -> list[Problem]:
    """Return everything that is wrong with a condition."""
    if len(source) > MAX_CHARS:
        return [Problem(None, f"longer than {MAX_CHARS:,} characters")]
    stream = list(tokens(source))
    bounds = _bounds(stream)
    if bounds:
        return bounds
    try:
        program = compile_condition(source)
    except ValueError as exc:
        return [_syntax(source, str(exc))]
    problems = [*_names(stream), *_patterns(stream)]
    return problems or _trial(program, stream)


def _bounds(stream: list[Token]) -> list[Problem]:
    depth = macros = 0
    commas = sum(token.text == "," for token in stream)
    for index, token in enumerate(stream):
        if token.kind == "other":
            return [Problem(token.at, f"unexpected character {token.text!r}")]
        if token.kind == "string" and _ambiguous(stream, index):
            return [
                Problem(token.at, "triple quotes, and raw strings with an escaped quote, are not supported")
            ]
        if token.text in ("(", "[", "{"):
            depth += 1
            if depth > _MAX_DEPTH:
                return [Problem(token.at, f"nested more than {_MAX_DEPTH} deep")]
        elif token.text in (")", "]", "}"):
            depth -= 1
        elif token.text in _MACROS and index and stream[index - 1].text == ".":
            macros += 1
            if macros > _MAX_MACROS or (macros > 1 and commas > _MAX_COMMAS):
                return [
                    Problem(
                        token.at,
                        f"more than {_MAX_MACROS} macros (all, exists, map, …), or long lists in two",
                    )
                ]
        # unary signs nest too, without brackets
        if token.text in "!-" and [t.text for t in stream[max(0, index - 8) : index]] == [token.text] * 8:
            return [Problem(token.at, "too many signs in a row")]
    return []


def _ambiguous(stream: list[Token], index: int) -> bool:
    """Whether CEL may split the string elsewhere than `tokens` does, so that no name could be trusted."""
    token = stream[index]
    touching = index > 0 and stream[index - 1].kind == "string"
    return touching or (token.text[0] in "rRbB" and ("\\'" in token.text or '\\"' in token.text))


def _syntax(source: str, message: str) -> Problem:
    match = re.search(r"<input>:(\d+):(\d+):\s*(?:Syntax error: )?([^\n]*)", message)
    if match is None:
        return Problem(None, "not CEL")
    lines = source.split("\n")
    line = min(int(match[1]), len(lines))
    at = sum(len(text) + 1 for text in lines[: line - 1]) + int(match[2]) - 1
    return Problem(min(at, len(source)), f"not CEL: {match[3][:120]}")


def _names(stream: list[Token]) -> Iterator[Problem]:
    bound = {
        stream[i + 2].text
        for i in range(1, len(stream) - 2)
        if stream[i].text in _MACROS and stream[i - 1].text == "." and stream[i + 1].text == "("
    }
    for index, token in enumerate(stream):
        before = stream[index - 1].text if index else ""
        after = stream[index + 1].text if index + 1 < len(stream) else ""
        if token.kind == "name" and token.text not in _WORDS:
            yield from _name(stream, index, before, after, bound)
        elif token.kind == "string":
            yield from _string(stream, index, before, after)


def _name(stream: list[Token], index: int, before: str, after: str, bound: set[str]) -> Iterator[Problem]:
    token = stream[index]
    if before == ".":
        owner = stream[index - 2].text if index >= 2 else ""
        own_field = index < 3 or stream[index - 3].text != "."
        if after == "(":
            if token.text not in _METHODS:
                yield Problem(token.at, f"unknown function {token.text}{did_you_mean(token.text, _METHODS)}")
        elif owner == "request" and own_field and token.text not in REQUEST_FIELDS:
            yield Problem(
                token.at, f"unknown field request.{token.text}{did_you_mean(token.text, REQUEST_FIELDS)}"
            )
        elif owner == "scores" and own_field and token.text not in CATEGORIES:
            yield Problem(token.at, f"unknown category {token.text}{did_you_mean(token.text, CATEGORIES)}")
    elif after == "(":
        if token.text not in _FUNCTIONS:
            yield Problem(token.at, f"unknown function {token.text}{did_you_mean(token.text, _FUNCTIONS)}")
    elif token.text not in _ROOTS and token.text not in bound:
        near = did_you_mean(token.text, _ROOTS) or f"; one of {', '.join(_ROOTS)}"
        yield Problem(token.at, f"unknown name {token.text}{near}")


def _string(stream: list[Token], index: int, before: str, after: str) -> Iterator[Problem]:
    token = stream[index]
    owner = stream[index - 2].text if index >= 2 else ""
    target = stream[index + 2].text if index + 2 < len(stream) else ""
    if (before == "[" and owner == "scores") or (after == "in" and target == "scores"):
        if token.plain not in CATEGORIES:
            near = did_you_mean(token.plain, CATEGORIES) or f"; one of {', '.join(CATEGORIES)}"
            yield Problem(token.at, f"unknown category {token.plain[:80]}{near}")
    elif before == "[" and owner == "request":
        if token.plain not in REQUEST_FIELDS:
            yield Problem(
                token.at, f"unknown field {token.plain[:80]}{did_you_mean(token.plain, REQUEST_FIELDS)}"
            )
    elif before in ("==", "!=") and owner in ("task", "stage"):
        tasks = tuple(task.value for task in Task)
        known = tasks if owner == "task" else ("prompt", "input-media", "output")
        if token.plain not in known:
            near = did_you_mean(token.plain, known) or f"; one of {', '.join(known)}"
            yield Problem(token.at, f"unknown {owner} {token.plain[:80]}{near}")


def _patterns(stream: list[Token]) -> Iterator[Problem]:
    for index in range(len(stream) - 2):
        if stream[index].text == "matches" and stream[index + 2].kind == "string":
            literal = stream[index + 2]
            if evaluate(compile_condition(f'"".matches({literal.text})'), {})[1]:
                yield Problem(literal.at, "not a regular expression")


def _trial(program: Any, stream: list[Token]) -> list[Problem]:
    """Run the condition on two made-up subjects: what cannot be true or false shows here already."""
    if any(token.text == "facts" for token in stream):
        return []  # what facts there are depends on the guards
    for level in (0.0, 1.0):
        _, error = evaluate(program, _sample(level))
        if error == NOT_A_BOOLEAN:
            return [Problem(None, "must come to true or false")]
        if error in ("TypeError", "ValueError", "RuntimeError", "PanicException"):
            return [Problem(None, f"cannot be evaluated: {error}, types do not fit")]
    return []


def _sample(level: float) -> dict[str, Any]:
    kinds: dict[str, Any] = {"str": "", "int": int(level), "float": level, "bool": bool(level)}
    return {
        "stage": "output",
        "request": {name: kinds[kind] for name, kind in REQUEST_FIELDS.items()},
        "scores": dict.fromkeys(CATEGORIES, level),
        "facts": {},
    }
