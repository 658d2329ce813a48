"""What is decided: policy files, and verdicts from what was measured.

>>> from clearmark.core import Observation, Request, Stage
>>> from clearmark.policies import Inputs, Policy
>>> policy = Policy.load("default")
>>> verdict = policy.decide(Inputs.of(Stage.PROMPT, Request("a red apple"), Observation()))
>>> verdict.action.word, verdict.reasons[0].rule  # no guard measured anything: fails closed
('block', 'requires/deception@prompt')
"""

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.policies, not policies: the bare name makes a second class object")

from clearmark.policies._sources import profiles
from clearmark.policies.boundaries import Witness, changed_inputs
from clearmark.policies.diagnostics import Diagnostic, InvalidPolicy
from clearmark.policies.differences import Change, diff
from clearmark.policies.editing import promote, replace_file, shadow
from clearmark.policies.explaining import explain, explain_record
from clearmark.policies.holding import PolicyHolder, Reload
from clearmark.policies.inputs import Inputs, Measurement, RequestFacts
from clearmark.policies.linting import lint
from clearmark.policies.marking import Label, Manifest, Marking, Metadata, Watermark
from clearmark.policies.pinning import pin
from clearmark.policies.policy import Policy
from clearmark.policies.replaying import Replay, replay
from clearmark.policies.rules import Override, Rule, Threshold
from clearmark.policies.schema import json_schema
from clearmark.policies.testing import TestResult, run_tests

__all__ = [
    "Change",
    "Diagnostic",
    "Inputs",
    "InvalidPolicy",
    "Label",
    "Manifest",
    "Marking",
    "Measurement",
    "Metadata",
    "Override",
    "Policy",
    "PolicyHolder",
    "Reload",
    "Replay",
    "RequestFacts",
    "Rule",
    "TestResult",
    "Threshold",
    "Watermark",
    "Witness",
    "changed_inputs",
    "diff",
    "explain",
    "explain_record",
    "json_schema",
    "lint",
    "pin",
    "profiles",
    "promote",
    "replace_file",
    "replay",
    "run_tests",
    "shadow",
]
