"""Manifests in a bucket: marked on one machine, led back on another that shares nothing but the bucket."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
from PIL import Image

from clearmark.sdk.home import Home

sys.path.insert(0, str(Path(__file__).parents[1]))
from contract.watermark_contract import scene

pytest.importorskip("minio")
pytest.importorskip("flask")


@pytest.fixture
def bucket():
    import minio
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    client = minio.Minio(
        endpoint=f"{host}:{port}", access_key="t", secret_key="t", secure=False, region="r-1"
    )
    client.make_bucket(bucket_name="manifests")
    yield f"s3://manifests/ours?endpoint=http://{host}:{port}&region=r-1"
    server.stop()


def test_marked_here_led_back_there(clearmark, bucket, tmp_path):
    env = {"CLEARMARK_MANIFESTS": bucket, "AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t"}
    picture = tmp_path / "park.png"
    Image.fromarray(scene(512, 640, seed=5)).save(picture)
    made = clearmark("mark", picture, "--out", tmp_path / "marked", "--json", env=env)
    assert made.code == 0, made.err
    assert not Home(clearmark.home).manifests.exists()
    out = io.BytesIO()
    Image.open(made.json["out"]).convert("RGB").save(out, "JPEG", quality=60)
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(out.getvalue())
    root = Home(clearmark.home).keys / "ca-root.pem"
    elsewhere = {**env, "CLEARMARK_HOME": str(tmp_path / "nobody")}
    read = clearmark("verify", copy, "--trust", root, "--json", env=elsewhere)
    assert read.json["recovered"]["via"] == "fingerprint", read.out
    assert read.json["recovered"]["mark_id"] == made.json["mark"]["id"]
    read = clearmark("verify", copy, "--json", env=env)
    assert read.json["recovered"]["via"] == "watermark", read.out
    assert read.json["recovered"]["signer_state"] == "trusted"


def test_a_bucket_that_is_not_there_is_an_error(clearmark, tmp_path):
    env = {"CLEARMARK_MANIFESTS": "s3://manifests/x?endpoint=http://127.0.0.1:9&region=r-1"}
    env |= {"AWS_ACCESS_KEY_ID": "t", "AWS_SECRET_ACCESS_KEY": "t"}
    picture = tmp_path / "park.png"
    Image.new("RGB", (256, 256), "teal").save(picture)
    made = clearmark("mark", picture, "--out", tmp_path / "marked", env=env)
    assert made.code == 6
    assert "does not answer" in made.err
