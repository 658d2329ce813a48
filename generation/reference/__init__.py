"""The small text-to-image model that ships with clearmark."""
