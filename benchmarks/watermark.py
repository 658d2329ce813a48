"""What is left of each watermark after what pictures go through: `clearmark bench watermark`.

Every codec marks the same pictures, each marked picture goes through the same attacks, and a cell counts
only when the exact message is read. The packages invisible-watermark and blind-watermark run beside ours
where they are installed (with `pip install --no-deps`); they have no check word, so for them the bits are
compared with what was written. Pictures: those under `--pictures`, else two photographs (scikit-learn), and
in equal parts wallpapers (the Debian packages mate-backgrounds and gnome-backgrounds), drawings
(openclipart-png), each where it is installed, and generated textures. The regeneration attack takes a
picture through the reference model's autoencoder, which needs `pip install "clearmark[local]"`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stdout
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from rich.console import Console
from rich.table import Table

from clearmark.core.errors import Error, WatermarkFailed
from clearmark.provenance.watermark import Embedded, Pixels, get_codec
from clearmark.provenance.watermark._front import activity, whiten
from clearmark.provenance.watermark._quality import luma, psnr, ssim

__all__ = ["ATTACKS", "main", "run"]

MARK_ID = "5eb63bbbe01eeed0"
KEY = b"clearmark bench"
FLAT_ACTIVITY = 1.0
"""Where detail is weaker than this (grey levels, root mean square), noise would be seen."""


WALLPAPERS = (Path("/usr/share/backgrounds/gnome"), Path("/usr/share/backgrounds/mate"))
DRAWINGS = (Path("/usr/share/openclipart/png"),)
"""Where Debian's gnome-backgrounds, mate-backgrounds and openclipart-png keep pictures that nobody marked."""

SUFFIXES = {".png", ".jpg", ".jpeg", ".webp"}
LARGEST = 40_000_000


def _codec(pixels: Pixels, extension: str, setting: int, quality: int) -> Pixels:
    _, data = cv2.imencode(extension, pixels[..., ::-1], [setting, quality])
    return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB), np.uint8)


def jpeg(pixels: Pixels, quality: int) -> Pixels:
    """Return `pixels` after JPEG."""
    return _codec(pixels, ".jpg", cv2.IMWRITE_JPEG_QUALITY, quality)


def webp(pixels: Pixels, quality: int) -> Pixels:
    """Return `pixels` after lossy WebP."""
    return _codec(pixels, ".webp", cv2.IMWRITE_WEBP_QUALITY, quality)


def resized(pixels: Pixels, width: int, height: int) -> Pixels:
    """Return `pixels` at a size: by area when it shrinks, cubic when it grows."""
    way = cv2.INTER_AREA if width < pixels.shape[1] else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=way), np.uint8)


def scaled(pixels: Pixels, across: float, down: float | None = None) -> Pixels:
    """Return `pixels` at so many times its size."""
    down = across if down is None else down
    return resized(pixels, round(pixels.shape[1] * across), round(pixels.shape[0] * down))


def halved_and_back(pixels: Pixels) -> Pixels:
    """Return `pixels` at half size, brought back."""
    return resized(scaled(pixels, 0.5), pixels.shape[1], pixels.shape[0])


def cut(pixels: Pixels, share: float, top: float = 0.5, left: float = 0.5) -> Pixels:
    """Return a part whose sides are `share` of the picture's."""
    height, width = (int(side * share) for side in pixels.shape[:2])
    row, column = int((pixels.shape[0] - height) * top), int((pixels.shape[1] - width) * left)
    return np.ascontiguousarray(pixels[row : row + height, column : column + width])


def turned(pixels: Pixels, degrees: float) -> Pixels:
    """Return `pixels` turned about the middle, with black corners."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC)
    return np.asarray(moved, np.uint8)


def rounded(values: Any) -> Pixels:
    """Return real values as pixels."""
    out: Pixels = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return out


def noisy(pixels: Pixels) -> Pixels:
    """Return `pixels` with white noise of ten grey levels."""
    return rounded(pixels + np.random.default_rng(1).normal(0, 10, pixels.shape))


def captioned(pixels: Pixels) -> Pixels:
    """Return `pixels` with a dark band and white text over its lower fifth."""
    out = pixels.copy()
    height, width = out.shape[:2]
    out[height * 4 // 5 :] //= 4
    at = (width // 20, height * 9 // 10)
    cv2.putText(out, "seen on the web", at, cv2.FONT_HERSHEY_SIMPLEX, width / 400, (255, 255, 255), 2)
    return out


def printed(pixels: Pixels) -> Pixels:
    """Return `pixels` as if printed and scanned: paper and ink less than white and black, soft, grainy."""
    soft = cv2.GaussianBlur(pixels, (0, 0), 0.8).astype(np.float32) / 255
    grain = np.random.default_rng(2).normal(0, 4, pixels.shape)
    return jpeg(rounded(20 + 215 * soft**1.2 + grain), 85)


@cache
def _autoencoder() -> Any:
    import torch
    from diffusers import AutoencoderKL

    from clearmark.generation import reference

    torch.set_num_threads(1)
    folder = Path(str(reference.__file__)).parent / "weights/vae"
    return AutoencoderKL.from_pretrained(folder).eval()


def regenerated(pixels: Pixels) -> Pixels:
    """Return `pixels` after a round trip through the reference model's autoencoder."""
    import torch

    height, width = pixels.shape[:2]
    padded = np.pad(pixels, ((0, -height % 16), (0, -width % 16), (0, 0)), "edge")
    with torch.no_grad():
        tensor = torch.from_numpy(padded).permute(2, 0, 1)[None].float() / 127.5 - 1
        vae = _autoencoder()
        back = vae.decode(vae.encode(tensor).latent_dist.mode()).sample[0].permute(1, 2, 0)
    return rounded((back.numpy()[:height, :width] + 1) * 127.5)


ATTACKS: dict[str, Callable[[Pixels], Pixels]] = {
    "none": lambda p: p,
    "jpeg 90": lambda p: jpeg(p, 90),
    "jpeg 70": lambda p: jpeg(p, 70),
    "jpeg 50": lambda p: jpeg(p, 50),
    "jpeg 30": lambda p: jpeg(p, 30),
    "webp 50": lambda p: webp(p, 50),
    "half and back": halved_and_back,
    "size 75%": lambda p: scaled(p, 0.75),
    "crop 75%": lambda p: cut(p, 0.75),
    "crop 50%": lambda p: cut(p, 0.5),
    "turn 5°": lambda p: turned(p, 5),
    "mirror": lambda p: np.ascontiguousarray(p[:, ::-1]),
    "stretch 1.15": lambda p: scaled(p, 1.15, 1.0),
    "blur 1.5": lambda p: cv2.GaussianBlur(p, (0, 0), 1.5),
    "noise 10": noisy,
    "brightness 1.3": lambda p: rounded(p * 1.3),
    "contrast 1.4": lambda p: rounded((p - 128.0) * 1.4 + 128),
    "gamma 1.4": lambda p: rounded(255 * (p / 255) ** 1.4),
    "grey": lambda p: np.repeat(rounded(luma(p))[..., None], 3, 2),
    "caption": captioned,
    "screenshot": lambda p: jpeg(cut(scaled(p, 0.8), 0.9, 0.3, 0.7), 70),
    "denoise": lambda p: cv2.fastNlMeansDenoisingColored(p, None, 7, 7, 7, 21),
    "crop+half+jpeg 50": lambda p: jpeg(scaled(cut(p, 0.75), 0.5), 50),
    "print and scan": printed,
    "regeneration": regenerated,
}
"""Attacks by name. A screenshot is 0.8 of the size, an off-centre crop to 90%, and JPEG 70."""


class Contestant(Protocol):
    """A watermark on trial: writes its message and says whether a picture still holds it."""

    name: str
    checked: bool

    def embed(self, pixels: Pixels) -> Embedded:
        """Return the marked picture."""

    def holds(self, pixels: Pixels) -> bool | None:
        """Say whether the exact message is read; None when nothing is, which an unchecked one never says."""


class Own:
    """One of our codecs, 64 bits behind a check word."""

    checked = True

    def __init__(self, name: str) -> None:
        self.name = name
        self.codec = get_codec(name, KEY)

    def embed(self, pixels: Pixels) -> Embedded:
        """Return the marked picture."""
        return self.codec.embed([pixels], [MARK_ID])[0]

    def holds(self, pixels: Pixels) -> bool | None:
        """Say whether the id is read."""
        found = self.codec.extract([pixels])[0]
        return None if found is None else found.mark_id == MARK_ID


class Package:
    """A method of invisible-watermark with the message that it takes: 64 bits, or 32 for rivaGan."""

    checked = False

    def __init__(self, method: str) -> None:
        import imwatermark

        self.name = f"invisible-watermark {method}"
        self.bits = [int(bit) for bit in f"{int(MARK_ID, 16):064b}"][: 32 if method == "rivaGan" else 64]
        self.method = method
        self.encoder, self.decoder = imwatermark.WatermarkEncoder(), imwatermark.WatermarkDecoder
        self.encoder.set_watermark("bits", self.bits)
        if method == "rivaGan":
            imwatermark.WatermarkEncoder.loadModel()

    def embed(self, pixels: Pixels) -> Embedded:
        """Return the marked picture, which the package does not check."""
        marked = self.encoder.encode(np.ascontiguousarray(pixels[..., ::-1]), self.method)
        out = np.ascontiguousarray(rounded(marked)[..., ::-1])
        return Embedded(pixels=out, psnr_db=psnr(pixels, out), ssim=ssim(pixels, out))

    def holds(self, pixels: Pixels) -> bool | None:
        """Say whether all bits are read."""
        try:
            read = self.decoder("bits", len(self.bits)).decode(
                np.ascontiguousarray(pixels[..., ::-1]), self.method
            )
        except RuntimeError:  # smaller than the package takes
            return None
        return [int(bit) for bit in read] == self.bits


class Blind:
    """The package blind-watermark with 64 bits."""

    checked = False
    name = "blind-watermark"

    def __init__(self) -> None:
        self.bits = [int(bit) for bit in f"{int(MARK_ID, 16):064b}"]

    def _mark(self) -> Any:
        with redirect_stdout(sys.stderr):  # it advertises itself
            return import_module("blind_watermark").WaterMark(password_img=1, password_wm=1)

    def embed(self, pixels: Pixels) -> Embedded:
        """Return the marked picture, which the package does not check."""
        mark = self._mark()
        mark.read_img(img=np.ascontiguousarray(pixels[..., ::-1]))
        mark.read_wm(list(self.bits), mode="bit")
        out = np.ascontiguousarray(rounded(mark.embed())[..., ::-1])
        return Embedded(pixels=out, psnr_db=psnr(pixels, out), ssim=ssim(pixels, out))

    def holds(self, pixels: Pixels) -> bool | None:
        """Say whether all bits are read."""
        try:
            read = self._mark().extract(
                embed_img=np.ascontiguousarray(pixels[..., ::-1]), wm_shape=len(self.bits), mode="bit"
            )
        except (AssertionError, ValueError, IndexError):  # smaller than the package takes
            return None
        return [int(bit) for bit in read] == self.bits


def pictures(folder: Path | None, *, size: int, count: int) -> list[tuple[str, Pixels]]:
    """Return up to `count` named pictures, size x size: the middle of files, or what is at hand."""
    if folder is not None:
        return _loaded(sorted(p for p in folder.rglob("*") if p.suffix.lower() in SUFFIXES), size, count)
    found: list[tuple[str, Pixels]] = []
    spec = find_spec("sklearn")
    if spec is not None and spec.origin:
        found += _loaded(sorted((Path(spec.origin).parent / "datasets/images").glob("*.jpg")), size, 2)
    share = max(1, (count - len(found)) // 3)
    for places in (WALLPAPERS, DRAWINGS):
        files = [p for place in places for p in sorted(place.rglob("*")) if p.suffix.lower() in SUFFIXES]
        found += _loaded(files[:: max(1, len(files) // share)], size, share)
    seeds = range(count - len(found))
    return [*found, *((f"texture {seed}", texture(size, seed)) for seed in seeds)][:count]


def _loaded(paths: Sequence[Path], size: int, count: int) -> list[tuple[str, Pixels]]:
    from PIL import Image, ImageOps

    out: list[tuple[str, Pixels]] = []
    for path in paths:
        if len(out) == count:
            break
        with Image.open(path) as opened:
            opened.draft("RGB", (2 * size, 2 * size))  # of a large JPEG no more than is needed
            if opened.width * opened.height > LARGEST:
                continue
            picture = opened.convert("RGBA")
        ground = Image.new("RGBA", picture.size, "white")
        ground.alpha_composite(picture)
        flat = ground.convert("RGB")
        # Small drawings keep their edges; photographs are cut to a square.
        if path.suffix.lower() == ".png" and min(picture.size) < size:
            flat = ImageOps.pad(flat, (size, size), color="white")
        else:
            flat = ImageOps.fit(flat, (size, size))
        pixels = np.asarray(flat)
        # A single colour is no test: it has no content to damage.
        if pixels.std() > 4:
            out.append((path.name, pixels))
    return out


def texture(size: int, seed: int) -> Pixels:
    """Return a generated picture: coloured 1/f noise, its roughness by `seed`, and hard shapes."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]) + 1 / size
    planes = []
    for _ in range(3):
        noise = np.fft.rfft2(rng.standard_normal((size, size))) / frequency ** (0.9 + 0.3 * (seed % 4))
        plane = np.fft.irfft2(noise, (size, size))
        planes.append(128 + plane / plane.std() * (15 + 10 * (seed % 3)))
    out = rounded(np.stack(planes, -1))
    for _ in range(seed % 5):
        at = [int(value) for value in rng.integers(0, size, 2)]
        colour = [int(value) for value in rng.integers(0, 256, 3)]
        cv2.circle(out, at, int(rng.integers(size // 20, size // 5)), colour, -1, cv2.LINE_AA)
    return out


def trial(
    contestant: Contestant, named: Sequence[tuple[str, Pixels]], attacks: Sequence[str]
) -> dict[str, Any]:
    """Mark every picture, attack it, read it, and return rates, quality and CPU times."""
    held = dict.fromkeys(attacks, 0)
    wrong, refused = 0, []
    marks: list[Embedded] = []
    flat: list[float] = []
    spent: dict[str, list[float]] = {"embed": [], "extract": [], "unmarked": []}

    def timed(kind: str, work: Callable[[Pixels], Any], picture: Pixels) -> Any:
        start = time.process_time()
        result = work(picture)
        spent[kind].append((time.process_time() - start) * 1e3)
        return result

    for name, picture in named:
        try:
            mark = timed("embed", contestant.embed, picture)
        except WatermarkFailed:
            refused.append(name)
            continue
        marks.append(mark)
        still = activity(luma(picture))[1] < FLAT_ACTIVITY
        if still.mean() > 0.02:
            off = luma(mark.pixels) - luma(picture)
            flat.append(float(off[still].std()))
        for attack in attacks:
            attacked = ATTACKS[attack](mark.pixels)
            kind = "extract" if attack == "none" else "other"
            spent.setdefault(kind, [])
            verdict = timed(kind, contestant.holds, attacked)
            held[attack] += verdict is True
            wrong += contestant.checked and verdict is False
        wrong += contestant.checked and timed("unmarked", contestant.holds, picture) is not None
    count = len(named)
    return {
        "codec": contestant.name,
        "bits": 64 if contestant.checked else len(getattr(contestant, "bits", ())),
        "check_word": contestant.checked,
        "pictures": count,
        "refused": refused,
        "psnr_db": round(float(np.mean([m.psnr_db for m in marks])), 2) if marks else None,
        "psnr_min_db": round(min(m.psnr_db for m in marks), 2) if marks else None,
        "ssim": round(float(np.mean([m.ssim for m in marks])), 4) if marks else None,
        "flat_rms": round(float(np.mean(flat)), 2) if flat else None,
        "exact": held,
        "exact_share": round(sum(held.values()) / (count * len(attacks)), 4),
        "false_accepts": wrong if contestant.checked else None,
        "cpu_ms": {kind: round(float(np.median(values)), 1) for kind, values in spent.items() if values},
    }


def leakage(size: int, *, count: int, victims: int = 8) -> dict[str, Any]:
    """Average `count` marked pictures of one key, subtract the mean from others, and count what still reads.

    The attacker knows the method: whitened pictures are averaged, and the mean is subtracted at 40 dB.
    """
    codec = get_codec("clearmark", KEY)
    total = np.zeros((size, size), np.float64)
    for seed in range(count):
        marked = codec.embed([texture(size, 1000 + seed)], [f"{seed:016x}"])[0].pixels
        total += whiten(luma(marked))
    template = total / total.std() * 255 / math.sqrt(10**4)
    left = 0
    for seed in range(victims):
        mark = codec.embed([texture(size, 5000 + seed)], [MARK_ID])[0]
        found = codec.extract([rounded(mark.pixels - template[..., None])])[0]
        left += found is not None and found.mark_id == MARK_ID
    return {"averaged": count, "subtracted_at_db": 40.0, "victims": victims, "still_read": left}


def unmarked(count: int, *, size: int) -> Iterator[Pixels]:
    """Yield pictures that were never marked: files at hand and crops of them by turns, then textures."""
    places = [*WALLPAPERS, *DRAWINGS]
    spec = find_spec("sklearn")
    if spec is not None and spec.origin:
        places.append(Path(spec.origin).parent / "datasets/images")
    files = [p for place in places for p in sorted(place.rglob("*")) if p.suffix.lower() in SUFFIXES]
    np.random.default_rng(7).shuffle(files)
    given = 0
    for path in files:
        for _, whole in _loaded([path], 2 * size, 1):
            for number, view in enumerate((scaled(whole, 0.5), cut(whole, 0.5, 0.2, 0.7))):
                if given == count:
                    return
                # The second is a crop at full resolution, as a picture cut out of a larger one.
                yield view if number == 0 or view.std() > 4 else jpeg(scaled(whole, 0.5), 50)
                given += 1
    for seed in range(count - given):
        yield texture(size, seed)


def false_accepts(count: int, *, size: int) -> dict[str, Any]:
    """Read `count` pictures and crops that were never marked, with every codec of the base install."""
    accepted, read = 0, 0
    names = ("clearmark", "dwt-dct-svd")
    for picture in unmarked(count, size=size):
        accepted += sum(get_codec(name, KEY).extract([picture])[0] is not None for name in names)
        read += 1
        if read % 50 == 0 and sys.stderr is not None:
            print(f"{read} unmarked pictures read, {accepted} accepted", file=sys.stderr, flush=True)
    return {"pictures": read, "codecs": list(names), "accepted": accepted}


def main() -> None:
    """Run as a command."""
    sys.exit(run(sys.argv[1:]))


def run(argv: Sequence[str]) -> int:
    """Measure, print tables (or one JSON document with `--json`), and return the exit code."""
    parser = argparse.ArgumentParser(prog="clearmark bench watermark", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON document and nothing else")
    parser.add_argument("--pictures", type=Path, help="folder of pictures to mark")
    parser.add_argument("--count", type=int, default=12, help="pictures to use at most")
    parser.add_argument("--size", type=int, default=512, help="side to which they are brought, in pixels")
    parser.add_argument("--codecs", nargs="*", default=["clearmark", "dwt-dct-svd"], help="ours to try")
    at_hand = [name for name in ATTACKS if name != "regeneration" or find_spec("diffusers")]
    parser.add_argument("--attacks", nargs="*", default=at_hand, choices=list(ATTACKS))
    parser.add_argument("--rivagan", type=int, default=0, help="pictures for rivaGan, a minute each")
    parser.add_argument("--blind", type=int, default=0, help="pictures for blind-watermark, slow as well")
    parser.add_argument("--average", type=int, default=0, help="marked pictures to average (issue: 100)")
    parser.add_argument("--unmarked", type=int, default=0, help="pictures and crops without a mark to read")
    options = parser.parse_args(list(argv))
    # Times are of one processor, so that load and cores elsewhere do not change them.
    cv2.setNumThreads(1)
    named = pictures(options.pictures, size=options.size, count=options.count)
    document: dict[str, Any] = {
        "bench": "watermark",
        "python": platform.python_version(),
        "machine": platform.machine(),
        "size": options.size,
        "pictures": [name for name, _ in named],
        "codecs": [trial(Own(name), named, options.attacks) for name in options.codecs],
    }
    if find_spec("imwatermark") is not None:
        document["codecs"] += [trial(Package(m), named, options.attacks) for m in ("dwtDct", "dwtDctSvd")]
        if options.rivagan:
            few = named[: options.rivagan]
            document["codecs"].append(trial(Package("rivaGan"), few, options.attacks))
    if options.blind and find_spec("blind_watermark") is not None:
        document["codecs"].append(trial(Blind(), named[: options.blind], options.attacks))
    if options.average:
        document["averaging"] = [leakage(options.size, count=n) for n in (10, options.average)]
    if options.unmarked:
        document["unmarked"] = false_accepts(options.unmarked, size=options.size)
    if options.json:
        sys.stdout.write(json.dumps(document) + "\n")
    else:
        _print(document)
    return 0


def _print(document: dict[str, Any]) -> None:
    console = Console()
    codecs = document["codecs"]
    table = Table(title=f"Exact messages, {len(document['pictures'])} pictures of {document['size']} pixels")
    table.add_column("attack")
    for codec in codecs:
        table.add_column(codec["codec"], justify="right")
    for attack in codecs[0]["exact"]:
        table.add_row(attack, *(f"{codec['exact'][attack]}/{codec['pictures']}" for codec in codecs))
    table.add_section()
    best = max((c["exact_share"] for c in codecs if not c["check_word"]), default=0)
    table.add_row("all", *(f"{codec['exact_share']:.1%}" for codec in codecs))
    if best:
        table.add_row("ratio to the best peer", *(f"{codec['exact_share'] / best:.2f}" for codec in codecs))
    table.add_section()
    rows: dict[str, Callable[[dict[str, Any]], Any]] = {
        "bits": lambda c: c["bits"],
        "PSNR mean (min), dB": lambda c: f"{c['psnr_db']} ({c['psnr_min_db']})",
        "SSIM": lambda c: c["ssim"],
        "flat areas, RMS": lambda c: c["flat_rms"],
        "not marked (refused)": lambda c: len(c["refused"]),
        "false accepts": lambda c: "no check" if c["false_accepts"] is None else c["false_accepts"],
        "embed, CPU ms": lambda c: c["cpu_ms"].get("embed"),
        "read, CPU ms": lambda c: c["cpu_ms"].get("extract"),
        "read unmarked, CPU ms": lambda c: c["cpu_ms"].get("unmarked", "-"),
    }
    for label, cell in rows.items():
        table.add_row(label, *(str(cell(codec)) for codec in codecs))
    console.print(table)
    for result in document.get("averaging", ()):
        console.print(
            f"{result['averaged']} marked pictures averaged, the mean subtracted at 40 dB: "
            f"{result['still_read']}/{result['victims']} still read"
        )
    if "unmarked" in document:
        result = document["unmarked"]
        console.print(f"{result['accepted']} marks read in {result['pictures']} pictures that have none")


if __name__ == "__main__":
    try:
        main()
    except Error as failed:
        sys.exit(failed.diagnostics())
