"""What every generator must keep: subclass `GeneratorContract`, give `generator`, get the tests."""

from __future__ import annotations

import pytest

from clearmark.core import Asset, Request, Task
from clearmark.core.errors import InvalidRequest
from clearmark.core.pixels import open_image
from clearmark.generation import Generator


class GeneratorContract:
    """Subclasses define the fixture `generator`; `seeded` says whether equal seeds give equal bytes."""

    seeded = True

    def test_it_is_a_generator_with_a_name_a_model_and_defaults(self, generator: Generator) -> None:
        assert isinstance(generator, Generator)
        assert generator.name
        assert generator.model.id
        assert generator.model.digest == "" or len(generator.model.digest) == len("sha256:") + 64
        assert generator.defaults.width > 0
        assert generator.defaults.height > 0

    def test_every_request_gets_its_n_pictures_in_order(self, generator: Generator) -> None:
        made = generator.generate([Request("a red apple", n=2, seed=5), Request("a house", n=1, seed=9)])
        assert [len(assets) for assets in made] == [2, 1]
        for asset in (asset for assets in made for asset in assets):
            assert asset.media_type == "image/png"
            assert open_image(asset.data, media_type="image/png").size == (asset.width, asset.height)

    def test_the_origin_tells_how_to_make_it_again(self, generator: Generator) -> None:
        [[asset]] = generator.generate([Request("a red apple", seed=5)])
        assert asset.origin is not None
        assert asset.origin.generator == generator.name
        assert asset.origin.model == generator.model.id
        assert asset.origin.model_digest == generator.model.digest
        assert asset.origin.task == "text-to-image"
        assert asset.origin.seed == (5 if self.seeded else None)

    def test_equal_seeds_give_equal_bytes_whatever_else_is_asked_for(self, generator: Generator) -> None:
        [[alone]] = generator.generate([Request("a red apple", seed=6)])
        [_, [_, beside]] = generator.generate([Request("a dog", seed=1), Request("a red apple", n=2, seed=5)])
        assert beside.origin is not None
        assert beside.origin.seed == (6 if self.seeded else None)
        assert alone.data == beside.data or not self.seeded

    def test_no_request_no_pictures(self, generator: Generator) -> None:
        assert generator.generate([]) == []

    def test_a_task_that_is_not_offered_is_refused(self, generator: Generator) -> None:
        [[asset]] = generator.generate([Request("a red apple", seed=5)])
        request = Request("larger", task=Task.UPSCALE, init_image=asset)
        with pytest.raises(InvalidRequest) as caught:
            generator.generate([request])
        assert caught.value.hint

    def test_the_pictures_carry_no_text(self, generator: Generator) -> None:
        [[asset]] = generator.generate([Request("a red apple", seed=5)])
        assert not _chunks(asset) & {b"tEXt", b"zTXt", b"iTXt", b"eXIf"}


def _chunks(asset: Asset) -> set[bytes]:
    found, at = set(), 8
    while at < len(asset.data):
        length = int.from_bytes(asset.data[at : at + 4], "big")
        found.add(asset.data[at + 4 : at + 8])
        at += length + 12
    return found
