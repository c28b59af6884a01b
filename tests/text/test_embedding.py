import json
import os
import struct
import subprocess
import sys
import threading

import numpy as np
import pytest

from idiolect import models
from idiolect.errors import ConfigError, MissingExtra, ModelError
from idiolect.text import embedding
from idiolect.text.embedding import load_embedder, read_vectors
from idiolect.types import Embedder

WORDS = ["[UNK]", "red", "blue", "green", "tea"]
TABLE = np.array([[0, 0, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 3, 4]], np.float16)


def write_static(folder):
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(dict(zip(WORDS, range(5), strict=True)), "[UNK]"))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    header = json.dumps({"v": {"dtype": "F16", "shape": [5, 4], "data_offsets": [0, TABLE.nbytes]}}).encode()
    path = folder / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + TABLE.tobytes())
    return path


@pytest.fixture
def static(tmp_path):
    return load_embedder(str(write_static(tmp_path)))


def test_the_mean_of_the_token_vectors_at_unit_length(static):
    assert isinstance(static, Embedder)
    got = static.embed(["red green", "tea", "red"])
    assert (got.shape, got.dtype, static.dim) == ((3, 4), np.float32, 4)
    np.testing.assert_allclose(got, [[0.5**0.5, 0.5**0.5, 0, 0], [0, 0, 0.6, 0.8], [1, 0, 0, 0]], atol=1e-6)


def test_nothing_said_is_similar_to_nothing(static):
    got = static.embed(["", "tea", "  \n"])
    assert not got[0].any()
    assert not got[2].any()
    assert static.embed([]).shape == (0, 4)
    assert not static.embed([""]).any()


def test_a_query_is_remembered_without_its_text_and_cannot_be_spoilt(static):
    first = static.embed(["red tea"])
    expected = first.copy()
    first[:] = 9
    again = static.embed(["red tea"])
    np.testing.assert_array_equal(again, expected)
    assert not any(b"tea" in key for key in static._seen)
    for n in range(embedding._REMEMBERED + 5):
        static.embed([f"red {n}"])
    assert len(static._seen) == embedding._REMEMBERED


def test_the_fingerprint_follows_the_weights(static, tmp_path):
    assert static.fingerprint == f"{tmp_path.name}@{models.digest(static.path)[:12]}"


def test_damaged_and_missing_files(tmp_path):
    path = write_static(tmp_path)
    for data in (b"", b"\xff" * 30, struct.pack("<Q", 2) + b"{}", struct.pack("<Q", 9) + b"not json!"):
        path.write_bytes(data)
        with pytest.raises(ModelError, match="safetensors"):
            read_vectors(path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match="not a tokenizer"):
        load_embedder(str(path)).embed(["x"])
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match=r"no tokenizer\.json"):
        load_embedder(str(path)).embed(["x"])
    onnx = pytest.importorskip("onnxruntime") and tmp_path / "model.onnx"
    onnx.write_bytes(b"no onnx")
    write_static(tmp_path)
    with pytest.raises(ModelError, match="ONNX"):
        load_embedder(str(tmp_path)).embed(["x"])


def test_names(monkeypatch, tmp_path):
    assert load_embedder("none") is None
    with pytest.raises(ConfigError, match="minilm, static, none"):
        load_embedder("minilmm")
    monkeypatch.setenv("IDIOLECT_MODELS", str(tmp_path))
    with pytest.raises(ModelError, match="idiolect models pull minilm"):
        load_embedder("minilm")
    with pytest.raises(ModelError, match="idiolect models pull wordllama"):
        load_embedder("static")


def test_missing_packages_are_said(monkeypatch, tmp_path):
    path = write_static(tmp_path)
    monkeypatch.setattr(embedding, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match=r"idiolect\[local\]"):
        load_embedder(str(path))


def test_nothing_heavy_is_imported_with_the_module():
    heavy = "[name for name in ('onnxruntime', 'tokenizers', 'torch') if name in sys.modules]"
    code = f"import sys, idiolect.text.embedding; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=_env())
    assert done.stdout.strip() == "[]"


def _env():
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def real(name):
    if models.find(name) is None and not os.environ.get("IDIOLECT_REQUIRE_MODELS"):
        pytest.skip(f"the model is not here: idiolect models pull {name}")


@pytest.fixture(scope="module")
def minilm():
    real("minilm")
    return load_embedder("minilm")


@pytest.mark.models
class TestMiniLM:
    def test_cosines_are_the_published_ones(self, minilm):
        # Reference: the float32 model in sentence-transformers; weights and products here have 8 bits.
        texts = ["A man is eating food.", "A man is eating a piece of bread.", "The girl is carrying a baby."]
        vectors = minilm.embed(texts)
        cosines = vectors @ vectors.T
        np.testing.assert_allclose(np.diag(cosines), 1, atol=1e-5)
        assert cosines[0, 1] == pytest.approx(0.7553, abs=0.03)
        assert cosines[0, 2] == pytest.approx(-0.1051, abs=0.04)

    def test_a_text_gets_the_same_vector_in_any_company(self, minilm):
        texts = ["one", "", "tea with milk " * 30, "a b c", "word " * 400, "ünïcode 日本"] * 8
        single = np.concatenate([minilm.embed([text]) for text in texts])
        np.testing.assert_array_equal(minilm.embed(texts), single)

    def test_long_texts_are_cut(self, minilm):
        start = " ".join(["word"] * 300)
        np.testing.assert_allclose(minilm.embed([start]), minilm.embed([start + " and an end"]), atol=1e-6)

    def test_threads_may_share_it(self, minilm):
        expected = minilm.embed(["one text", "another text"])
        got = []
        threads = [
            threading.Thread(target=lambda: got.append(minilm.embed(["one text", "another text"]))) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for vectors in got:
            np.testing.assert_allclose(vectors, expected, atol=1e-6)

    def test_dim_and_fingerprint(self, minilm):
        assert (minilm.dim, minilm.fingerprint) == (384, "minilm@35efb016cf27")


@pytest.mark.models
def test_static_vectors_know_what_is_alike():
    real("wordllama")
    static = load_embedder("static")
    food, bread, baby = static.embed(["He eats food.", "He eats bread.", "A baby sleeps."])
    assert food @ bread > food @ baby + 0.2
    assert static.dim == 256
