"""Metadata in pictures: IPTC digital source type and AI fields, and the AIGC label, in the XMP packet."""

from clearmark.provenance.metadata.fields import MetadataSettings, read_metadata, write_metadata

__all__ = ["MetadataSettings", "read_metadata", "write_metadata"]
