"""The nouns that every room shares: values without input or output of their own.

>>> from clearmark.core import Request
>>> Request("a red apple").task.value
'text-to-image'
"""

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.core, not core: the bare name makes a second class object")

from clearmark.core.assets import Asset, Origin
from clearmark.core.canonical import canonical_json, digest, micro
from clearmark.core.events import SCHEMA_VERSION, Event
from clearmark.core.findings import CATEGORIES, Box, Evidence, Finding, Match, Span
from clearmark.core.guarding import Failure, Guard, Observation, Subject
from clearmark.core.ids import uuid7
from clearmark.core.marks import LabelMark, LatentMark, ManifestMark, Mark, MetadataMark, WatermarkMark
from clearmark.core.requests import Request, Stage, Task
from clearmark.core.verdicts import Action, PolicyRef, Reason, RuleHit, Verdict

__all__ = [
    "CATEGORIES",
    "SCHEMA_VERSION",
    "Action",
    "Asset",
    "Box",
    "Event",
    "Evidence",
    "Failure",
    "Finding",
    "Guard",
    "LabelMark",
    "LatentMark",
    "ManifestMark",
    "Mark",
    "Match",
    "MetadataMark",
    "Observation",
    "Origin",
    "PolicyRef",
    "Reason",
    "Request",
    "RuleHit",
    "Span",
    "Stage",
    "Subject",
    "Task",
    "Verdict",
    "WatermarkMark",
    "canonical_json",
    "digest",
    "micro",
    "uuid7",
]
