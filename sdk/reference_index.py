"""What the reference model was trained on, as an index that ships beside it.

`python -m clearmark.sdk.reference_index --cache CACHE` builds it: every picture that the training saw, as it
saw it, under the licence, creator and digest that the register has on record. `manifest.json` holds the
digests of all files. A Studio that uses the reference model compares with it, unless its state folder has an
index of its own.
"""

from __future__ import annotations

import argparse
import io
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import UsageError
from clearmark.core.weights import sha256_file
from clearmark.sdk.cli._console import progress

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from clearmark.generation.reference.data import Dataset
    from clearmark.guardrails.memorization import Entry, Item
    from clearmark.sdk.home import Home

__all__ = [
    "FOLDER",
    "build",
    "clean_prompts",
    "main",
    "memorization_evidence",
    "shipped_guidance",
    "shipped_index",
]

FOLDER = Path(__file__).parents[1] / "generation" / "reference" / "memorization"
"""Where the index, its manifest and the calibration of guidance lie in the package."""

SCHEMA_VERSION = 1
VERSION = "1"
_INDEX, _MANIFEST, _GUIDANCE = "index", "manifest.json", "guidance.json"
_AT_ONCE = 256
_SIDE, _QUALITY = 160, 30
"""Of the small pictures, in which geometry finds key points when it looks. The points themselves, twenty
times as large, are left out, which keeps the whole below 8 MB."""


def shipped_index(folder: Path | None = None) -> Path | None:
    """Return the index that ships with the reference model, None where none was built.

    Raises:
        IndexDamaged: its files are not those of the manifest.
    """
    from clearmark.guardrails.memorization import IndexDamaged

    folder = folder or FOLDER
    if not (folder / _MANIFEST).exists():
        return None
    hint = "install clearmark again, or run `make reference-index`"
    try:
        body = json.loads((folder / _MANIFEST).read_text(encoding="utf-8"))
        if body["schema_version"] != SCHEMA_VERSION:
            raise UsageError(f"{folder}: of version {body['schema_version']}", hint="upgrade clearmark")
        for row in body["files"]:
            path = folder / row["path"]
            if path.stat().st_size != row["size"] or sha256_file(path) != row["sha256"]:
                raise IndexDamaged(f"{row['path']}: its digest is not the one on record", hint=hint)
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise IndexDamaged(f"the index of the reference model: {type(exc).__name__}", hint=hint) from exc
    return folder / _INDEX


def shipped_guidance(folder: Path | None = None) -> Path | None:
    """Return the calibration of guidance that ships with the reference model, None where there is none."""
    path = (folder or FOLDER) / _GUIDANCE
    return path if path.exists() else None


def memorization_evidence(home: Home, backend: object) -> tuple[Path | None, list[Path]]:
    """Return what is known of the training of `backend`: its index, and calibrations of guidance.

    The state folder's own index counts; without one, that which ships with the reference model, where that is
    the backend. Of calibrations both are read, and the state folder's word comes last.

    Raises:
        IndexDamaged: what ships is not what was shipped.
    """
    ours = getattr(backend, "spec", backend) == "reference"
    index = home.training_index if home.training_index.exists() else shipped_index() if ours else None
    files = [shipped_guidance() if ours else None, home.guidance if home.guidance.exists() else None]
    return index, [path for path in files if path is not None]


def build(data: Dataset, items: Mapping[str, Item], folder: Path = FOLDER) -> dict[str, Any]:
    """Write index and manifest of the pictures that a training on `data` saw; return the manifest.

    `items` gives the entry on record of each path. What stands in `folder` is replaced once all is written.

    Raises:
        UsageError: a picture was trained on that is not on record.
    """
    from clearmark.guardrails.memorization import Index, default_descriptor

    descriptor = default_descriptor()
    draft = folder.with_name(folder.name + ".draft")
    shutil.rmtree(draft, ignore_errors=True)
    seen = [
        place for place, out in enumerate(data.held_out()) if not out and data.items[place].path not in items
    ]
    if seen:
        raise UsageError(
            f"{len(seen)} pictures were trained on that are not on record: {data.items[seen[0]].path}",
            hint="clearmark data add openclipart",
        )
    unread = 0
    with Index.create(draft / _INDEX, descriptor=descriptor.ref) as index:
        measured = _measured(data, items)
        with progress("indexing", int((~data.held_out()).sum())) as advance:
            while some := list(islice(measured, _AT_ONCE)):
                entries = [entry for entry in some if entry is not None]
                unread += len(some) - len(entries)
                index.add(entries)
                advance(len(some))
        index.compact()
        body: dict[str, Any] = {
            "schema_version": SCHEMA_VERSION,
            "version": VERSION,
            "model": "clearmark-reference",
            "data": f"sha256:{data.digest}",
            "descriptor": descriptor.ref,
            "items": len(index),
            "blank": unread,
            "digest": index.digest,
            "licences": index.stats()["licences"],
        }
    files = sorted(path for path in (draft / _INDEX).rglob("*") if path.is_file())
    body["files"] = [
        {
            "path": path.relative_to(draft).as_posix(),
            "sha256": sha256_file(path),
            "size": path.stat().st_size,
        }
        for path in files
    ]
    (draft / _MANIFEST).write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    if (folder / _GUIDANCE).exists():
        shutil.copy(folder / _GUIDANCE, draft / _GUIDANCE)
    shutil.rmtree(folder, ignore_errors=True)
    draft.replace(folder)
    return body


def _measured(data: Dataset, items: Mapping[str, Item]) -> Iterator[Entry | None]:
    """Yield the entry of every picture that was trained on, None for one without content."""
    from clearmark.guardrails.memorization import Entry, default_descriptor, pdq
    from clearmark.guardrails.memorization.descriptor import sign_codes

    descriptor = default_descriptor()
    for place, held_out in enumerate(data.held_out()):
        if held_out:
            continue
        pixels = data.pictures[place]
        if float(pixels.std()) < 1.0:
            yield None
            continue
        codes = sign_codes(descriptor.embed([pixels]))
        yield Entry(items[data.items[place].path], pdq(pixels).bits, codes, _small(pixels))


def clean_prompts(data: Dataset, count: int) -> list[str]:
    """Return captions of pictures that were held out and of no other: prompts that nothing was trained on."""
    trained = {
        caption
        for item, out in zip(data.items, data.held_out(), strict=True)
        if not out
        for caption in item.captions
    }
    found = dict.fromkeys(
        caption
        for item, out in zip(data.items, data.held_out(), strict=True)
        if out
        for caption in item.captions
        if caption not in trained
    )
    return sorted(found)[:count]


def _small(pixels: NDArray[np.uint8]) -> bytes:
    import PIL.Image

    out = io.BytesIO()
    small = PIL.Image.fromarray(pixels).resize((_SIDE, _SIDE), PIL.Image.Resampling.LANCZOS)
    small.save(out, "WEBP", quality=_QUALITY, method=6)
    return out.getvalue()


def _on_record(home: Path | None, dataset: str) -> dict[str, Item]:
    from clearmark.guardrails.memorization import Item
    from clearmark.sdk.home import Home
    from clearmark.sdk.training_data import open_register

    with open_register(Home.locate(home)) as register:
        version = register.version(dataset)
        return {
            item.key: Item(
                key=f"{version.name}/{item.key}",
                sha256=item.sha256,
                source=item.source,
                licence=item.licence.spdx,
                creator=item.creator,
                opt_out=item.opt_out,
            )
            for item in register.items(version, state="held")
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Build the index, and write the prompts that the guidance of the model is calibrated on."""
    from clearmark.generation.reference.data import Dataset

    parser = argparse.ArgumentParser(prog="clearmark.sdk.reference_index", description=__doc__)
    parser.add_argument("--cache", type=Path, required=True, help="what the training prepared")
    parser.add_argument("--dataset", default="openclipart", help="NAME[@VERSION] of the register")
    parser.add_argument("--home", type=Path, help="state folder with the register")
    parser.add_argument("--out", type=Path, default=FOLDER)
    parser.add_argument("--clean", type=Path, help="file for prompts that nothing was trained on")
    parser.add_argument("--count", type=int, default=200, help="how many of them")
    options = parser.parse_args(arguments)
    data = Dataset.load(options.cache / "data")
    body = build(data, _on_record(options.home, options.dataset), options.out)
    size = sum(row["size"] for row in body["files"])
    print(f"{body['items']:,} items, {size / 1e6:.1f} MB, {body['digest']}")
    if options.clean is not None:
        options.clean.write_text("\n".join(clean_prompts(data, options.count)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
