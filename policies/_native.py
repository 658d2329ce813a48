"""Conditions as Python code, where CEL and Python agree on what they come to.

Handing a value to the CEL library costs a microsecond, and so does a short condition there. Most conditions
compare scores, fields of the request and facts with constants; those are written as one Python function for
all rules of a stage, which needs no handing over. What is outside of this subset, and every input on which
Python raises where CEL has rules of its own (a score that is missing, a fact of another type), stays with the
library: this module only ever answers what the library would have answered.

The subset: `&&`, `||`, `!`, comparisons of two values of one type, sums and products of scores or of two
whole fields of the request, `"x" in scores`, `has(facts.x)`, `startsWith`, `endsWith`, `contains` with plain
text, and `[...].exists(x, ...)`. `tests/unit/policies/test_policy_native.py` holds it against the library.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from clearmark.policies._conditions import REQUEST_FIELDS, Token, tokens

if TYPE_CHECKING:
    from clearmark.policies.inputs import Inputs

__all__ = ["Native", "compile_native"]

Native: TypeAlias = "Callable[[Inputs], list[bool]]"
"""The outcomes of the conditions it was made of, in their order; raises where it cannot tell."""

_LARGEST = 2**31
"""Whole numbers below this can be added and multiplied in pairs without leaving CEL's 64 bits."""

_MICRO = ("guidance", "strength")
_COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})
_TEXT_METHODS = {
    "startsWith": "{0}.startswith({1})",
    "endsWith": "{0}.endswith({1})",
    "contains": "({1} in {0})",
}
_FACT_TYPES = {"int": "_int", "float": "_float", "str": "_str", "bool": "_bool"}
_DEEPEST = 12


class _Outside(Exception):
    """A condition, or a value, that is left to the library."""


@dataclass(frozen=True, slots=True)
class _Code:
    """Python source of a value. `kind` is bool, int, float or str; `fact` where only the input tells."""

    text: str
    kind: str
    plain: bool = False
    """A field, a score, a fact or a literal by itself."""


@dataclass
class _Names:
    """What the function reads of its inputs, each once: a line that fetches it."""

    lines: dict[str, str] = field(default_factory=dict)
    bounded: set[str] = field(default_factory=set)

    def of(self, name: str, line: str) -> str:
        self.lines.setdefault(name, line)
        return name


def compile_native(sources: Sequence[str]) -> tuple[Native | None, frozenset[int]]:
    """Return one function for all conditions in the subset, and their places among `sources`."""
    names = _Names()
    codes: dict[int, str] = {}
    for place, source in enumerate(sources):
        trial = _Names(dict(names.lines), set(names.bounded))
        try:
            codes[place] = _Parser(list(tokens(source)), trial).whole()
        except _Outside:
            continue
        names = trial
    if not codes:
        return None, frozenset()
    lines = ["def decide(inputs):", " scores, request, facts = inputs.scores, inputs.request, inputs.facts"]
    lines += [f" {line}" for line in names.lines.values()]
    lines += [f" if not -{_LARGEST} < {name} < {_LARGEST}: raise _Outside" for name in sorted(names.bounded)]
    lines.append(f" return [{', '.join(codes.values())}]")
    space: dict[str, Any] = {"__builtins__": {}, "_Outside": _Outside, "_missing": _Missing(), **_CHECKS}
    # Nothing of a policy file stands in this source but literals, each written by `repr`.
    exec(compile("\n".join(lines), "<conditions>", "exec"), space)  # noqa: S102
    decide: Native = space["decide"]
    return decide, frozenset(codes)


class _Parser:
    """Recursive descent over the tokens of one condition."""

    def __init__(self, stream: list[Token], names: _Names) -> None:
        self.stream = stream
        self.names = names
        self.at = 0
        self.depth = 0
        self.bound: dict[str, _Code] = {}

    def whole(self) -> str:
        code = self.any_of()
        _need(self.at == len(self.stream))
        return self.typed(code, "bool").text

    def peek(self, offset: int = 0) -> str:
        spot = self.at + offset
        return self.stream[spot].text if spot < len(self.stream) else ""

    def take(self, text: str) -> bool:
        found = self.peek() == text and self.stream[self.at].kind in ("sign", "name")
        self.at += found
        return found

    def need(self, text: str) -> None:
        _need(self.take(text))

    def any_of(self) -> _Code:
        self.depth += 1
        _need(self.depth <= _DEEPEST)
        code = self.joined("||", "or", lambda: self.joined("&&", "and", self.negated))
        self.depth -= 1
        return code

    def joined(self, sign: str, word: str, part: Callable[[], _Code]) -> _Code:
        codes = [part()]
        while self.take(sign):
            codes.append(part())
        if len(codes) == 1:
            return codes[0]
        return _Code(f"({f' {word} '.join(self.typed(code, 'bool').text for code in codes)})", "bool")

    def negated(self) -> _Code:
        if self.peek() == "!":
            self.at += 1
            # `!` binds closer than comparisons: only what stands alone is taken.
            _need(self.peek() != "!")
            inner = self.typed(self.single(), "bool")
            _need(self.peek() not in _COMPARISONS and self.peek() != "in")
            return _Code(f"(not {inner.text})", "bool")
        return self.compared()

    def compared(self) -> _Code:
        left = self.summed()
        sign = self.peek()
        if sign == "in" or sign not in _COMPARISONS:
            _need(sign != "in")
            return left
        self.at += 1
        right = self.summed()
        _need(self.peek() not in _COMPARISONS and self.peek() != "in")
        kind = right.kind if left.kind == "fact" else left.kind
        _need(kind != "fact" and (kind in ("int", "float") or (kind == "str" and sign in ("==", "!="))))
        return _Code(f"({self.typed(left, kind).text} {sign} {self.typed(right, kind).text})", "bool")

    def summed(self) -> _Code:
        code, steps = self.multiplied(), 0
        while self.peek() in ("+", "-"):
            steps += 1
            sign = self.peek()
            self.at += 1
            code = self.reckoned(code, sign, self.multiplied(), steps)
        return code

    def multiplied(self) -> _Code:
        code, steps = self.single(), 0
        while self.peek() == "*":
            steps += 1
            self.at += 1
            code = self.reckoned(code, "*", self.single(), steps)
        _need(self.peek() not in ("/", "%"))
        return code

    def reckoned(self, left: _Code, sign: str, right: _Code, steps: int) -> _Code:
        _need(left.kind == right.kind and left.kind in ("int", "float"))
        if left.kind == "int":
            # CEL has an overflow, Python has not: one step over small numbers stays below it.
            _need(steps == 1 and left.plain and right.plain)
            for code in (left, right):
                if code.text.isidentifier():
                    self.names.bounded.add(code.text)
                else:
                    _need(int(code.text) < _LARGEST)
        return _Code(f"({left.text} {sign} {right.text})", left.kind)

    def single(self) -> _Code:
        token = self.next()
        match token.kind:
            case "number":
                return self.after(_number(token.text))
            case "string":
                return self.string(token)
            case "name":
                return self.after(self.named(token.text))
        _need(token.text in ("(", "["))
        if token.text == "[":
            return self.exists()
        code = self.any_of()
        self.need(")")
        return self.after(_Code(code.text, code.kind))

    def named(self, word: str) -> _Code:
        match word:
            case "true" | "false":
                code = _Code(word.title(), "bool", plain=True)
            case "scores":
                category = self.entry()
                name = f"s_{category.encode().hex()}"
                line = f"{name} = v / 1000000 if (v := scores.get({category!r})) is not None else _missing"
                code = _Code(self.names.of(name, line), "float", plain=True)
            case "request":
                code = self.of_request(self.entry())
            case "facts":
                code = _Code(f"facts.get({self.entry()!r})", "fact")
            case "has":
                self.need("(")
                self.need("facts")
                code = _Code(f"({self.entry()!r} in facts)", "bool")
                self.need(")")
            case _:
                _need(word in self.bound)
                code = self.bound[word]
        return code

    def after(self, code: _Code) -> _Code:
        """Refuse what would go on behind a value: an index, a field, a call."""
        _need(self.peek() not in (".", "[", "("))
        return code

    def string(self, token: Token) -> _Code:
        text = _literal(token)
        if self.peek() == "in":
            self.at += 1
            self.need("scores")
            return self.after(_Code(f"({text!r} in scores)", "bool"))
        return self.after(_Code(repr(text), "str", plain=True))

    def entry(self) -> str:
        """Read `.x` or `["x"]`."""
        if self.take("."):
            token = self.next()
            _need(token.kind == "name")
            return token.text
        self.need("[")
        text = _literal(self.next())
        self.need("]")
        return text

    def next(self) -> Token:
        _need(self.at < len(self.stream))
        self.at += 1
        return self.stream[self.at - 1]

    def of_request(self, name: str) -> _Code:
        kind = REQUEST_FIELDS.get(name, "")
        _need(bool(kind))
        value = f"request.{name} / 1000000" if name in _MICRO else f"request.{name}"
        code = _Code(self.names.of(f"r_{name}", f"r_{name} = {value}"), kind, plain=True)
        if kind == "str" and self.peek() == "." and self.peek(1) in _TEXT_METHODS:
            method = self.peek(1)
            self.at += 2
            self.need("(")
            text = _literal(self.next())
            self.need(")")
            return _Code(_TEXT_METHODS[method].format(code.text, repr(text)), "bool")
        return code

    def exists(self) -> _Code:
        """Read `[a, b].exists(x, condition)` as `condition(a) || condition(b)`."""
        items = [self.summed()]
        while self.take(","):
            items.append(self.summed())
        _need(all(item.kind in ("int", "float", "str", "bool") for item in items))
        for text in ("]", ".", "exists", "("):
            self.need(text)
        name = self.next()
        _need(name.kind == "name" and name.text not in _RESERVED and name.text not in self.bound)
        self.need(",")
        start, codes = self.at, []
        for item in items:
            self.at, self.bound[name.text] = start, item
            codes.append(self.typed(self.any_of(), "bool").text)
        del self.bound[name.text]
        self.need(")")
        return self.after(_Code(f"({' or '.join(codes)})", "bool"))

    def typed(self, code: _Code, kind: str) -> _Code:
        """Return `code` as a value of `kind`; a fact is looked at when it is there."""
        if code.kind == "fact":
            return _Code(f"{_FACT_TYPES[kind]}({code.text})", kind)
        _need(code.kind == kind)
        return code


_RESERVED = frozenset({"scores", "request", "facts", "stage", "has", "true", "false", "null", "in", "size"})


def _number(text: str) -> _Code:
    if text[-1] in "uU" or text[:2] in ("0x", "0X"):
        raise _Outside
    if text.isdecimal():
        _need(int(text) < 2**63)
        return _Code(str(int(text)), "int", plain=True)
    number = float(text)
    _need(number < 1e300)
    return _Code(repr(number), "float", plain=True)


def _literal(token: Token) -> str:
    """Return the text of a string without prefix and escapes."""
    _need(token.kind == "string" and token.text[0] in "'\"" and "\\" not in token.text)
    return token.plain


def _need(condition: bool) -> None:
    if not condition:
        raise _Outside


class _Missing:
    """Stands for a score that nothing measured: whatever is asked of it is CEL's to judge."""

    def _raise(self, _: object) -> Any:
        raise _Outside

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = _raise
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _raise
    __hash__ = object.__hash__


def _checked(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        # Also a fact that is missing, and a truth value where a number is asked for, are CEL's to judge.
        if type(value) is kind:
            return value
        raise _Outside

    return check


_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    name: _checked(kind) for name, kind in (("_int", int), ("_float", float), ("_str", str), ("_bool", bool))
}
