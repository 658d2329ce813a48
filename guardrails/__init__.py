"""TODO"""

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.guardrails, not guardrails: the bare name makes a second class object")
