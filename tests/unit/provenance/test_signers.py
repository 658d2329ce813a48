"""Every place where a signing key can be keeps the same contract."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, utils

from clearmark.core.errors import SigningFailed
from clearmark.provenance.credentials import IdentitySigner, ManifestSigner, make_development_ca

sys.path.insert(0, str(Path(__file__).parents[2]))
from contract.credentials_contract import SignerContract, manifest, picture


class TestKeyFile(SignerContract):
    @pytest.fixture
    def signer(self, development):
        return ManifestSigner.from_pem(development.chain_pem, development.key_pem)

    @pytest.fixture
    def anchors(self, development):
        return development.root_pem


class TestKeyFileWithIdentity(SignerContract):
    """Beside somebody who signs in a name of their own: both keys in files."""

    @pytest.fixture
    def signer(self, development):
        people = make_development_ca()
        identity = IdentitySigner.from_pem(people.chain_pem, people.key_pem)
        return ManifestSigner.from_pem(development.chain_pem, development.key_pem, identity=identity)

    @pytest.fixture
    def anchors(self, development):
        return development.root_pem


def key_service(key_pem):
    """Return a function that signs elsewhere, r and s in DER form as the clouds give them."""
    key = serialization.load_pem_private_key(key_pem, None)
    return lambda data: key.sign(data, ec.ECDSA(hashes.SHA256()))


class TestCallbackWithIdentity(SignerContract):
    """Both keys elsewhere."""

    @pytest.fixture
    def signer(self, development):
        people = make_development_ca()
        identity = IdentitySigner.from_callback(people.chain_pem, key_service(people.key_pem))
        return ManifestSigner.from_callback(
            development.chain_pem, key_service(development.key_pem), identity=identity
        )

    @pytest.fixture
    def anchors(self, development):
        return development.root_pem

    def test_it_survives_a_fork(self, signer):
        """It does not, once it was used: the library cannot ask addresses any more. It says so."""
        signer.sign(picture(), "image/png", manifest())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            code = os.fork()
        if code == 0:  # pragma: no cover
            try:
                signer.sign(picture(), "image/png", manifest())
                os._exit(1)
            except SigningFailed as exc:
                os._exit(0 if "fork" in exc.hint else 2)
            except BaseException:  # noqa: BLE001
                os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(code, 0)[1]) == 0


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
