"""Picture guards: measure what came out of a generator, or what is to go into one."""

from clearmark.guardrails.output._nudity import NudityGuard

__all__ = ["NudityGuard"]
