"""What `marking` may hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clearmark.policies._nodes import Node
from clearmark.policies._schema_common import one_line
from clearmark.policies._shapes import Bool, Choice, Faults, Integer, Key, Obj, OneOf, Text

__all__ = ["MARKING"]


def _marking(
    values: dict[str, Any], nodes: Mapping[str, Node], _node: Node, path: str, faults: Faults
) -> None:
    for layer in ("metadata", "watermark", "manifest"):
        if values.get(f"unsafe_no_{layer}") and layer in nodes:
            faults.add(nodes[layer], f"{path}.{layer}", f"contradicts unsafe_no_{layer}")


def _layer(name: str, about: str, keys: Mapping[str, Key]) -> Key:
    off = f"write unsafe_no_{name}: true to leave this layer out"
    return Key(about=about, shape=OneOf(simple=Bool(only=True, why=off), complex=Obj(keys=keys)))


_UNSAFE = Bool(only=True, why="leave the key out instead")

MARKING = Obj(
    about="What is written into released pictures. Every layer but the visible label is on by default.",
    keys={
        "label": Key(
            about="The visible label; true for every picture, false for those whose verdict is label.",
            shape=OneOf(
                simple=Bool(),
                complex=Obj(
                    keys={
                        "show": Key(
                            about="On every picture, or where the verdict is label.",
                            shape=Choice(("always", "when-asked")),
                        ),
                        "text": Key(about="The words.", shape=one_line(60)),
                        "font": Key(
                            about="A TrueType file, for words that the built-in font has no letters for.",
                            shape=one_line(500),
                        ),
                        "position": Key(
                            about="The corner.",
                            shape=Choice(("top-left", "top-right", "bottom-left", "bottom-right")),
                        ),
                    }
                ),
            ),
        ),
        "metadata": _layer(
            "metadata",
            "IPTC and XMP.",
            {"aigc": Key(about="Add the AIGC label of GB 45438-2025.", shape=Bool())},
        ),
        "watermark": _layer(
            "watermark",
            "The invisible watermark.",
            {
                "codec": Key(
                    about="A codec's name, or auto.",
                    shape=Text(what="a codec's name", pattern=r"[a-z0-9][a-z0-9_-]*", longest=60),
                ),
                "latent": Key(
                    about="Also mark the initial noise, where the generator lets its sampler be started.",
                    shape=Bool(),
                ),
            },
        ),
        "manifest": _layer(
            "manifest",
            "The signed C2PA manifest.",
            {
                "training": Key(
                    about="What it says on training with the picture.",
                    shape=Choice(("allowed", "notAllowed", "constrained")),
                ),
                "thumbnail": Key(
                    about="Longer side in pixels of a small picture inside it; none without.",
                    shape=Integer(low=64, high=1024),
                ),
                "input_thumbnails": Key(
                    about="Also of the pictures that went in: everybody can then see them.", shape=Bool()
                ),
            },
        ),
        "unsafe_no_metadata": Key(about="Leave the metadata out.", shape=_UNSAFE),
        "unsafe_no_watermark": Key(about="Leave the watermark out.", shape=_UNSAFE),
        "unsafe_no_manifest": Key(about="Leave the manifest out.", shape=_UNSAFE),
    },
    then=_marking,
)
