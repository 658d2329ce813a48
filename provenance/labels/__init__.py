"""The visible label: drawn into a corner before the watermark, readable on whatever is behind it."""

from clearmark.provenance.labels.draw import LabelSettings, draw_label

__all__ = ["LabelSettings", "draw_label"]
