"""TODO"""

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.policies, not policies: the bare name makes a second class object")
