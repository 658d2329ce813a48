"""Every place where a signing key can be keeps the same contract."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from clearmark.provenance.credentials import ManifestSigner

sys.path.insert(0, str(Path(__file__).parents[2]))
from contract.credentials_contract import SignerContract


class TestKeyFile(SignerContract):
    @pytest.fixture
    def signer(self, development):
        return ManifestSigner.from_pem(development.chain_pem, development.key_pem)

    @pytest.fixture
    def anchors(self, development):
        return development.root_pem


class TestCallback(SignerContract):
    """A cloud's key service: it gets the bytes and returns r and s, here side by side."""

    @pytest.fixture
    def signer(self, development):
        key = serialization.load_pem_private_key(development.key_pem, None)

        def remote(data):
            r, s = utils.decode_dss_signature(key.sign(data, ec.ECDSA(hashes.SHA256())))
            return r.to_bytes(32, "big") + s.to_bytes(32, "big")

        return ManifestSigner.from_callback(development.chain_pem, remote)

    @pytest.fixture
    def anchors(self, development):
        return development.root_pem
