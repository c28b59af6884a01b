"""A tiny random model, made once."""

from __future__ import annotations

import pytest

from idiolect.backends.transformers import TransformersBackend
from tiny import write_model


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def model(folder):
    backend = TransformersBackend(str(folder), dtype="float32", threads=1)
    yield backend
    backend.close()
