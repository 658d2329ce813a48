"""Guards of others behind our protocol: moderation services over HTTP, and models that you have downloaded.

`ConceptGuard` is ours, over a list that you write. None of them runs by default. A service sees what it is
asked about: prompts and pictures leave the house.

    from clearmark.guardrails.adapters import Checkpoint, LlamaGuard, OpenAIModeration

    OpenAIModeration()                                   # the key is read from OPENAI_API_KEY
    LlamaGuard(Checkpoint.read("llama-guard.json"))      # `Checkpoint.record` made it once, after a look
"""

from clearmark.guardrails.adapters._azure import AzureContentSafety, AzureImageContentSafety
from clearmark.guardrails.adapters._checkpoint import Checkpoint
from clearmark.guardrails.adapters._concepts import ConceptGuard, PromptConcept
from clearmark.guardrails.adapters._judges import LlamaGuard, LlavaGuard, ShieldGemma
from clearmark.guardrails.adapters._openai import OpenAIImageModeration, OpenAIModeration
from clearmark.guardrails.adapters._zero_shot import Concept, ZeroShotGuard

__all__ = [
    "AzureContentSafety",
    "AzureImageContentSafety",
    "Checkpoint",
    "Concept",
    "ConceptGuard",
    "LlamaGuard",
    "LlavaGuard",
    "OpenAIImageModeration",
    "OpenAIModeration",
    "PromptConcept",
    "ShieldGemma",
    "ZeroShotGuard",
]
