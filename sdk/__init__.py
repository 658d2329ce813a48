"""TODO"""

if not __name__.startswith("clearmark."):
    raise ImportError("import clearmark.sdk, not sdk: the bare name makes a second class object")
