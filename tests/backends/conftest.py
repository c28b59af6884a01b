"""A tiny random model, made once."""

from __future__ import annotations

import os

import pytest

from idiolect import models
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


@pytest.fixture(scope="session")
def weights():
    """The name of the embedded default; what needs it is skipped where it is not here."""
    name = "smollm2-135m-instruct"
    if models.find(name) is None and not os.environ.get("IDIOLECT_REQUIRE_MODELS"):
        pytest.skip(f"the model is not here: idiolect models pull {name}")
    return name
