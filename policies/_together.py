"""All conditions of a stage, asked at once.

A call of CEL costs as much as a short condition, and handing over a variable too. So what Python can answer
alike is asked of one Python function, the rest of one CEL program, and each condition by itself only where
one of them has a fault.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from clearmark.policies._conditions import (
    Reads,
    compile_condition,
    compile_together,
    evaluate,
    evaluate_together,
    reads,
)
from clearmark.policies._native import Native, compile_native

if TYPE_CHECKING:
    from clearmark.policies.inputs import Inputs

__all__ = ["Together"]

_NO_FAULTS: Mapping[int, str] = {}


@dataclass(frozen=True, slots=True)
class Together:
    """The compiled conditions of the rules of one stage, by their places."""

    programs: tuple[Any, ...]
    reads: Reads
    native: Native | None
    rest: tuple[int, ...]
    """Places of the conditions that `native` does not answer."""
    rest_program: Any
    rest_reads: Reads

    @classmethod
    def of(cls, sources: Sequence[str]) -> Together:
        """Compile the conditions."""
        native, places = compile_native(sources)
        rest = tuple(place for place in range(len(sources)) if place not in places)
        left = [sources[place] for place in rest]
        return cls(
            programs=tuple(map(compile_condition, sources)),
            reads=reads(sources),
            native=native,
            rest=rest,
            rest_program=compile_together(left),
            rest_reads=reads(left),
        )

    def outcomes(self, inputs: Inputs) -> tuple[list[bool], Mapping[int, str]]:
        """Return which conditions hold, and by place the names of faults; what has a fault holds."""
        answered: list[bool] = []
        if self.native is not None:
            try:
                answered = self.native(inputs)
            except Exception:  # noqa: BLE001  whatever it is, the library judges it
                return self._apart(inputs)
        if not self.rest:
            return answered, _NO_FAULTS
        import cel

        context = cel.Context(variables=inputs.variables(self.rest_reads))
        asked = evaluate_together(self.rest_program, context, len(self.rest))
        if asked is None:
            return self._apart(inputs)
        if not answered:
            return asked, _NO_FAULTS
        for place, holds in zip(self.rest, asked, strict=True):  # rising, so each finds its place
            answered.insert(place, holds)
        return answered, _NO_FAULTS

    def _apart(self, inputs: Inputs) -> tuple[list[bool], Mapping[int, str]]:
        """Ask the library for every condition by itself."""
        import cel

        # Converted once for all: that costs as much as many conditions.
        context = cel.Context(variables=inputs.variables(self.reads))
        found = [evaluate(program, context) for program in self.programs]
        return [holds for holds, _ in found], {at: error for at, (_, error) in enumerate(found) if error}
