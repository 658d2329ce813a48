"""Picture guards: measure what came out of a generator, or what is to go into one."""

from clearmark.guardrails.output._banks import PDQ_DISTANCE, BankMatch, HashBank, HashBankGuard, pdq
from clearmark.guardrails.output._change import EditFacts, edit_facts, skin_share
from clearmark.guardrails.output._look import Look, look_of
from clearmark.guardrails.output._nudity import NudityGuard
from clearmark.guardrails.output._overlay import OverlayGuard
from clearmark.guardrails.output._text import TextGuard
from clearmark.guardrails.output._vote import VoteGuard

__all__ = [
    "PDQ_DISTANCE",
    "BankMatch",
    "EditFacts",
    "HashBank",
    "HashBankGuard",
    "Look",
    "NudityGuard",
    "OverlayGuard",
    "TextGuard",
    "VoteGuard",
    "edit_facts",
    "look_of",
    "pdq",
    "skin_share",
]
