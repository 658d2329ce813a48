"""Fit the copy descriptor: `python -m clearmark.guardrails.memorization.fit`.

The objective is that of SSCD (Pizzi et al. 2022): InfoNCE over two strong augmentations of each picture, with
the differential-entropy regulariser of Kozachenko and Leonenko (Sablayrolles et al. 2019), which spreads
unrelated pictures over the sphere so that one threshold fits all. `head` fits the last layer alone on stored
features (minutes on one core); `tune` goes on with every weight. Both write checkpoints and go on where they
stopped. `export` writes the ONNX file. `words` fits the visual words of the key points. `weights` fits the
probability that combines all evidence.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clearmark.core.errors import Error, UsageError
from clearmark.core.optional import import_optional
from clearmark.guardrails.memorization._augment import augment
from clearmark.guardrails.memorization._network import SIDE, build_module, pretrained
from clearmark.guardrails.memorization._weigh import fit_weights, held_out, read_evidence
from clearmark.guardrails.memorization._wording import fit_words

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["export", "fit_head", "load_pictures", "main", "objective", "tune"]

TEMPERATURE = 0.05
ENTROPY = 30.0
"""Weight of the entropy term; the paper's value."""

_LONGEST = 208
SIDE_OF_WORDS = 384
"""Longest side of the pictures that words are fitted on, as of those that an index keeps."""
_SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one stage of the fit."""
    parser = argparse.ArgumentParser(
        prog="python -m clearmark.guardrails.memorization.fit", description=__doc__
    )
    parser.add_argument("stage", choices=("head", "tune", "export", "words", "weights"))
    parser.add_argument("--pictures", type=Path, action="append", default=[])
    parser.add_argument("--out", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--onnx", type=Path, help="where `export` writes")
    parser.add_argument("--most", type=int, default=8000, help="most pictures")
    parser.add_argument("--views", type=int, default=4, help="views of each picture, for `head`")
    parser.add_argument("--evidence", type=Path, help="for `weights`: a file of `clearmark bench copies`")
    parser.add_argument("--reuse", type=Path, help="for `weights`: pairs labelled as real re-use")
    parser.add_argument("--across", action="store_true", help="for `weights`: no negatives within a package")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=20261124)
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    if options.stage == "weights":
        known = json.loads(options.reuse.read_bytes())["pairs"] if options.reuse else {}
        positives, negatives = read_evidence(options.evidence, known, across=options.across)
        (options.out / "weights.json").write_bytes(fit_weights(positives, negatives))
        _say(f"{len(positives)} copies, {len(negatives)} negatives")
        recall, alarms = held_out(positives, negatives)
        _say(f"three-fold, held out: {recall:.3f} of the copies found at {alarms} alarms")
        return 0
    if options.stage == "words":
        pictures = load_pictures(
            options.pictures, most=options.most, seed=options.seed, longest=SIDE_OF_WORDS
        )
        fit_words(pictures, options.out, seed=options.seed)
        return 0
    import_optional("torch", extra="memorization-fit").set_num_threads(1)
    if options.stage == "export":
        export(options.out, options.onnx or options.out / "copy-descriptor.onnx")
        return 0
    pictures = load_pictures(options.pictures, most=options.most, seed=options.seed)
    _say(f"{len(pictures)} pictures")
    if options.stage == "head":
        fit_head(pictures, options.out, views=options.views, seed=options.seed)
    else:
        tune(pictures, options.out, minutes=options.minutes, seed=options.seed)
    return 0


def load_pictures(
    folders: Sequence[Path], *, most: int, seed: int, longest: int = _LONGEST
) -> list[NDArray[np.uint8]]:
    """Read pictures in a random order, small, without near-duplicates (PDQ within 16 bits) and blank ones."""
    import cv2
    import numpy as np

    from clearmark.guardrails.memorization._pictures import read_pixels
    from clearmark.guardrails.memorization._scan import distances
    from clearmark.guardrails.memorization.hashes import pdq

    paths = sorted(p for folder in folders for p in folder.rglob("*") if p.suffix.lower() in _SUFFIXES)
    np.random.default_rng(seed).shuffle(paths)
    out: list[NDArray[np.uint8]] = []
    seen = np.zeros((len(paths), 32), dtype=np.uint8)
    for path in paths:
        if len(out) == most:
            break
        try:
            picture = read_pixels(path.read_bytes(), longest=longest)
        except (Error, OSError):
            continue
        hashed = pdq(picture)
        if hashed.quality < 20 or min(picture.shape[:2]) < 24:
            continue
        code = np.frombuffer(hashed.bits, dtype=np.uint8)
        if out and distances(seen[: len(out)], code).min() <= 16:
            continue
        seen[len(out)] = code
        out.append(cv2.resize(picture, None, fx=1, fy=1) if picture.base is not None else picture)
    if len(out) < 2:
        raise UsageError("fewer than two pictures to learn from", hint="--pictures FOLDER")
    return out


def objective(descriptors: Any, groups: Any) -> Any:
    """Return InfoNCE plus the entropy term for unit descriptors [n, d] of pictures `groups` [n]."""
    torch = import_optional("torch", extra="memorization-fit")
    same = groups[:, None] == groups[None, :]
    alone = torch.eye(len(groups), dtype=torch.bool, device=groups.device)
    similarity = descriptors @ descriptors.T
    logits = (similarity / TEMPERATURE).masked_fill(alone, -1e9)
    logs = logits - logits.logsumexp(dim=1, keepdim=True)
    positives = same & ~alone
    contrast = -(logs * positives).sum(1) / positives.sum(1).clamp(min=1)
    nearest = similarity.masked_fill(same, -1.0).max(dim=1).values
    distance = (2 - 2 * nearest).clamp(min=1e-6).sqrt()
    return contrast.mean() - ENTROPY * TEMPERATURE * distance.log().mean() / 10


def fit_head(pictures: Sequence[NDArray[np.uint8]], out: Path, *, views: int, seed: int) -> None:
    """Fit the head on stored features of `views` augmented views and the untouched one of each picture."""
    import numpy as np

    torch = import_optional("torch", extra="memorization-fit")
    network = _network(out)
    rng = np.random.default_rng(seed)
    stored = out / "features.npz"
    if stored.exists():
        with np.load(stored, allow_pickle=False) as data:
            features, groups = data["features"], data["groups"]
    else:
        features, groups = _features(network, pictures, rng, views)
        np.savez(stored, features=features, groups=groups)
    x, label = torch.from_numpy(features), torch.from_numpy(groups)
    mean, scale = x.mean(0), x.std(0) + 1e-4
    head = torch.nn.Linear(x.shape[1], network.head.out_features, bias=False)
    steps, size = 2500, 160
    optimiser = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
    of_picture = [np.flatnonzero(groups == g) for g in range(int(groups.max()) + 1)]
    torch.manual_seed(seed)
    for step in range(steps):
        chosen = rng.choice(len(of_picture), size=min(size, len(of_picture)), replace=False)
        rows = np.concatenate([rng.choice(of_picture[g], 2, replace=False) for g in chosen])
        unit = torch.nn.functional.normalize(head((x[rows] - mean) / scale), dim=1)
        loss = objective(unit, label[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
        if step % 250 == 0:
            _say(f"step {step}: {loss.item():.3f}")
    with torch.no_grad():
        network.head.weight.copy_(head.weight / scale)
    _save(network, out)


def _features(network: Any, pictures: Any, rng: Any, views: int) -> Any:
    import cv2
    import numpy as np

    torch = import_optional("torch", extra="memorization-fit")
    features: list[Any] = []
    groups: list[int] = []
    began = time.monotonic()
    for first in range(0, len(pictures), 16):
        some = pictures[first : first + 16]
        batch = [cv2.resize(p, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for p in some]
        batch += [augment(p, rng, pictures, SIDE) for p in some for _ in range(views)]
        numbers = [*range(len(some)), *(n for n in range(len(some)) for _ in range(views))]
        with torch.no_grad():
            features.append(network.features(torch.from_numpy(np.stack(batch))).numpy())
        groups.extend(first + number for number in numbers)
        if first % 800 == 0:
            _say(f"features of {first} pictures, {time.monotonic() - began:.0f} s")
    return np.concatenate(features), np.array(groups)


def tune(pictures: Sequence[NDArray[np.uint8]], out: Path, *, minutes: float, seed: int) -> None:
    """Go on with every weight for `minutes`, from the checkpoint in `out`."""
    import numpy as np

    torch = import_optional("torch", extra="memorization-fit")
    network = _network(out)
    rng = np.random.default_rng([seed, int(time.time())])
    body = [p for name, p in network.named_parameters() if not name.startswith("head")]
    optimiser = torch.optim.AdamW(
        [{"params": body, "lr": 2e-4}, {"params": [network.head.weight], "lr": 5e-4}], weight_decay=1e-5
    )
    began, step, size = time.monotonic(), 0, 48
    while (share := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group, rate in zip(optimiser.param_groups, (2e-4, 5e-4), strict=True):
            group["lr"] = rate * max(0.02, min(1.0, (step + 1) / 20) * (1 - share))
        chosen = rng.choice(len(pictures), size=min(size, len(pictures)), replace=False)
        batch = np.stack([augment(pictures[c], rng, pictures, SIDE) for c in chosen for _ in range(2)])
        loss = objective(network(torch.from_numpy(batch)), torch.from_numpy(np.repeat(chosen, 2)))
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        step += 1
        if step % 20 == 0:
            _say(f"step {step}, {time.monotonic() - began:.0f} s: {loss.item():.3f}")
            _save(network, out)
    _save(network, out)


def export(out: Path, path: Path) -> None:
    """Write the checkpoint in `out` as ONNX to `path`."""
    from clearmark.guardrails.memorization._export import write_onnx
    from clearmark.guardrails.memorization._network import blocks

    network = _network(out)
    weights = {"head.weight": network.head.weight.detach().numpy()}
    for block in blocks():
        for conv in block.convs:
            layer = network.layers[conv.name.replace(".", "_")]
            weights[conv.name + ".weight"] = layer.weight.detach().numpy()
            weights[conv.name + ".bias"] = layer.bias.detach().numpy()
    write_onnx(weights, path)


def _network(out: Path) -> Any:
    """Return the network with the checkpoint's weights, else the pretrained ones."""
    torch = import_optional("torch", extra="memorization-fit")
    load = import_optional("safetensors.torch", extra="memorization-fit")
    network = build_module()
    checkpoint = out / "checkpoint.safetensors"
    if checkpoint.exists():
        network.load_state_dict(load.load_file(checkpoint))
        return network
    state = {
        f"layers.{key.rsplit('.', 1)[0].replace('.', '_')}.{key.rsplit('.', 1)[1]}": torch.from_numpy(value)
        for key, value in pretrained().items()
    }
    network.load_state_dict(state, strict=False)
    return network


def _save(network: Any, out: Path) -> None:
    save = import_optional("safetensors.torch", extra="memorization-fit")
    draft = out / "checkpoint.part"
    save.save_file({k: v.contiguous() for k, v in network.state_dict().items()}, draft)
    draft.replace(out / "checkpoint.safetensors")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
