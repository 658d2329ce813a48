"""The evidence page: a picture and the items that it copies, side by side, region and mask drawn."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clearmark.guardrails.memorization._pictures import read_pixels
from clearmark.guardrails.memorization.geometry import Region

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clearmark.guardrails.memorization.checker import Check, CopyChecker, CopyMatch

__all__ = ["evidence_page"]

_MOST = 4
_WORDS = {
    "verbatim": "The whole picture, nearly as it is",
    "cropped": "A cut-out of the item",
    "part": "A part of the item stands in the picture",
    "template": "The same layout with a changed part",
    "near-duplicate": "The hashes are nearly equal",
    "related": "Alike, but no common places were verified: not shown to be a copy",
}
_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--accent:#c2410c;--ink:#1b1b1b;--ground:#fdfdfc}
@media(prefers-color-scheme:dark){:root{--accent:#fb923c;--ink:#ececec;--ground:#161616}}
*{box-sizing:border-box}body{margin:0 auto;max-width:68rem;padding:2rem 1.25rem;background:var(--ground);
color:var(--ink);font:16px/1.5 system-ui,sans-serif}h1{font-size:1.5rem;margin:0 0 .25rem}
h2{font-size:1.15rem;margin:0}p{margin:.25rem 0}.verdict{font-weight:600;color:var(--accent)}
article{margin:2rem 0;padding-top:1.5rem;border-top:1px solid var(--line)}
.pair{display:grid;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr));gap:1rem;margin:1rem 0}
figure{margin:0;min-width:0}
h2,figcaption,code{overflow-wrap:anywhere}figcaption{font-size:.85rem;opacity:.8;margin-top:.35rem}img{width:100%;height:20rem;
object-fit:contain;background:var(--soft);border-radius:.25rem}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.2rem 1.25rem;font-size:.9rem}
dt{opacity:.75}dd{margin:0;overflow-wrap:anywhere}
@media print{article{break-inside:avoid}}
"""


def evidence_page(data: bytes, checker: CopyChecker, found: Check, *, title: str = "") -> str:
    """Return a page (HTML, nothing outside of it) that shows what `found` rests on.

    `found` is what `checker` said of the picture `data`.

    Raises:
        MediaError: the picture cannot be read.
        IndexDamaged: a picture of the index is not the one on record.
    """
    pixels = read_pixels(data)
    shown = [match for match in found.matches if match.score >= found.threshold] or list(found.matches[:1])
    verdict = "Memorized" if found.memorized else "No copy found"
    name = html.escape(title or "Picture")
    parts = [
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{verdict}: {name}</title><style>{_STYLE}</style>",
        f'<h1>{name}</h1><p class="verdict">{verdict}</p>',
        f"<p>Probability {found.score:.4f}; the threshold of the index is {found.threshold:.4f}. "
        f"Descriptor <code>{html.escape(checker.descriptor.ref)}</code></p>",
    ]
    parts.extend(_article(pixels, checker, match) for match in shown[:_MOST])
    if not shown:
        parts.append("<article><p>Nothing in the index is near.</p></article>")
    return "".join(parts) + "</html>\n"


def _article(pixels: NDArray[np.uint8], checker: CopyChecker, match: CopyMatch) -> str:
    item, region = match.item, match.region
    stored = checker.index.picture(item.id)
    figures = [("The picture", _uri(_drawn(pixels, region) if region is not None else pixels))]
    if region is not None:
        figures.append(("What both show", _uri(_cut(pixels, region))))
    if stored:
        figures.append((f"The item {item.key}", _uri(read_pixels(stored))))
    facts = [("Kind", f"{match.kind}: {_WORDS.get(match.kind, '')}"), ("Probability", f"{match.score:.4f}")]
    if region is not None:
        facts += [
            ("Region", f"{region.of_query:.0%} of the picture, {region.of_item:.0%} of the item"),
            ("Places that agree", _places(region)),
        ]
    facts += [
        ("Descriptor distance", f"{match.distance:.3f}"),
        ("Shared key points", f"{match.votes:.1f} votes" if match.votes else "none"),
        ("Hash distance", "not near" if match.hash_distance >= 256 else f"{match.hash_distance} of 256 bits"),
        *((label, value) for label, value in _rights(match) if value),
    ]
    pictures = "".join(
        f'<figure><img alt="{html.escape(caption)}" src="{uri}">'
        f"<figcaption>{html.escape(caption)}</figcaption></figure>"
        for caption, uri in figures
    )
    rows = "".join(f"<dt>{label}</dt><dd>{html.escape(value)}</dd>" for label, value in facts)
    head = f"<article><h2>{html.escape(item.key)}</h2>"
    return f'{head}<div class="pair">{pictures}</div><dl>{rows}</dl></article>'


def _places(region: Region) -> str:
    shown = f"{region.inliers}" if region.inliers else f"no key points; {region.agreement:.0%} of the layout"
    return f"{shown}{', mirrored' if region.mirrored else ''}"


def _rights(match: CopyMatch) -> Sequence[tuple[str, str]]:
    item = match.item
    return (
        ("Source", item.source),
        ("Licence", item.licence),
        ("Creator", item.creator),
        ("Opted out", item.opt_out),
        ("SHA-256", item.sha256),
    )


def _mask(pixels: NDArray[np.uint8], region: Region) -> NDArray[np.bool_]:
    import cv2
    import numpy as np

    size = pixels.shape[1], pixels.shape[0]
    grown = cv2.resize(region.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)
    out: NDArray[np.bool_] = grown > 0
    return out


def _drawn(pixels: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    """Fade what is not common, and draw the outline of what is and the box around it."""
    import cv2
    import numpy as np

    mask = _mask(pixels, region)
    out = np.where(mask[..., None], pixels, (pixels * 0.35 + 120).astype(np.uint8)).astype(np.uint8)
    outline, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    thick = max(1, max(pixels.shape) // 220)
    cv2.drawContours(out, outline, -1, (234, 88, 12), 2 * thick)
    if outline:
        left, top, width, height = cv2.boundingRect(np.concatenate(outline))
        cv2.rectangle(out, (left, top), (left + width - 1, top + height - 1), (37, 99, 235), thick)
    return out


def _cut(pixels: NDArray[np.uint8], region: Region) -> NDArray[np.uint8]:
    import numpy as np

    out: NDArray[np.uint8] = np.where(_mask(pixels, region)[..., None], pixels, np.uint8(160))
    return out


def _uri(pixels: NDArray[np.uint8]) -> str:
    import PIL.Image

    out = io.BytesIO()
    PIL.Image.fromarray(pixels).save(out, "WEBP", quality=82)
    return "data:image/webp;base64," + base64.b64encode(out.getvalue()).decode()
