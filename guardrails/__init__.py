"""What is measured: guards over prompts and pictures. They never decide; policies do.

>>> from clearmark.core import Request, Stage, Subject
>>> from clearmark.guardrails import default_guards, run_guards
>>> subject = Subject(stage=Stage.PROMPT, request=Request("a red apple on a table"))
>>> run_guards(default_guards(), [subject])[0].scores["sexual"] < 0.05
True
"""

if not __name__.startswith("clearmark."):
    raise ImportError(
        "import clearmark.guardrails, not guardrails: the bare name makes a second class object"
    )

from clearmark.guardrails._registry import ENTRY_POINTS, default_guards, get_guard, guard_names
from clearmark.guardrails._run import run_guards
from clearmark.guardrails.models import catalogue

__all__ = [
    "ENTRY_POINTS",
    "catalogue",
    "default_guards",
    "get_guard",
    "guard_names",
    "run_guards",
]
