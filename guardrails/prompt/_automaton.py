"""Many terms found in one pass: Aho and Corasick, Communications of the ACM 18(6), 1975.

The symbols may be anything hashable. Over words it never matches inside a word (no "rape" in "grape");
over characters it serves the scripts that write no spaces. Time is linear in the input plus the hits.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Generic, NamedTuple, TypeVar

__all__ = ["Automaton", "Hit"]

Symbol = TypeVar("Symbol", bound=Hashable)
Value = TypeVar("Value")


class Hit(NamedTuple, Generic[Value]):
    """Symbols `start` up to `end` are a pattern that carries `value`."""

    start: int
    end: int
    value: Value


class Automaton(Generic[Symbol, Value]):
    """Patterns with a value each, compiled once; `find` may then run in any number of threads."""

    def __init__(self, patterns: Iterable[tuple[Sequence[Symbol], Value]]) -> None:
        self._next: list[dict[Symbol, int]] = [{}]
        self._out: list[tuple[tuple[int, Value], ...]] = [()]
        for pattern, value in patterns:
            state = 0
            for symbol in pattern:
                target = self._next[state].get(symbol)
                if target is None:
                    target = len(self._next)
                    self._next[state][symbol] = target
                    self._next.append({})
                    self._out.append(())
                state = target
            if state:
                self._out[state] += ((len(pattern), value),)
        self._fail = [0] * len(self._next)
        queue = deque(self._next[0].values())
        while queue:
            state = queue.popleft()
            for symbol, target in self._next[state].items():
                queue.append(target)
                back = self._fail[state]
                while back and symbol not in self._next[back]:
                    back = self._fail[back]
                self._fail[target] = self._next[back].get(symbol, 0)
                self._out[target] += self._out[self._fail[target]]

    def find(self, symbols: Iterable[Symbol]) -> Iterator[Hit[Value]]:
        """Yield every occurrence of every pattern, also overlapping ones, by where it ends."""
        following, fail, out = self._next, self._fail, self._out
        first = following[0]
        state = 0
        for index, symbol in enumerate(symbols):
            while state and symbol not in following[state]:
                state = fail[state]
            # Most symbols begin nothing, and are met in the first state.
            state = following[state].get(symbol, 0) if state else first.get(symbol, 0)
            if out[state]:
                for length, value in out[state]:
                    yield Hit(index + 1 - length, index + 1, value)
