"""Picture guards: measure what came out of a generator, or what is to go into one."""

from clearmark.guardrails.output._banks import PDQ_DISTANCE, BankMatch, HashBank, HashBankGuard, pdq
from clearmark.guardrails.output._change import EditFacts, edit_facts, skin_share
from clearmark.guardrails.output._nudity import NudityGuard
from clearmark.guardrails.output._overlay import OverlayGuard

__all__ = [
    "PDQ_DISTANCE",
    "BankMatch",
    "EditFacts",
    "HashBank",
    "HashBankGuard",
    "NudityGuard",
    "OverlayGuard",
    "edit_facts",
    "pdq",
    "skin_share",
]
