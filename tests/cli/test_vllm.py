"""Deleting by the command line while a server beside it serves adapters through vLLM."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("safetensors")

from backends.test_vllm import OURS, SHAPES, said
from backends.vllm_server import adapter
from backends.vllm_stub import VLLMStub
from cli.conftest import Run
from idiolect import config
from idiolect.backends.vllm import VLLMBackend
from idiolect.errors import UpstreamError
from idiolect.opening import open_store
from idiolect.store.store import Store
from idiolect.types import Adapter, Artifact, Call

WEIGHTS = {"ana": adapter(SHAPES, 1, OURS, size=1.0), "ben": adapter(SHAPES, 2, OURS, size=1.0)}


class Server:
    """What a running ``idiolect serve`` holds: the store, and the backend that brought adapters to vLLM."""

    def __init__(self, store: Store, backend: VLLMBackend) -> None:
        self.store, self.backend = store, backend

    def adapters(self, user: str) -> tuple[Adapter, ...]:
        return tuple(Adapter(one.id, 1.0, one.body) for one in self.store.artifacts(user) if one.body is not None)

    def answer(self, user: str) -> str:
        call = Call(({"role": "user", "content": "hi"},), adapters=self.adapters(user))
        return self.backend.generate([call])[0].text


@pytest.fixture
def stub(tmp_path: Path) -> Iterator[VLLMStub]:
    running = VLLMStub(tmp_path / "access")
    yield running
    running.close()


@pytest.fixture(params=["resolver", "load"])
def server(
    request: pytest.FixtureRequest, stub: VLLMStub, ana: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Server]:
    monkeypatch.setattr(VLLMBackend, "fingerprint", OURS)
    table = {
        "base_url": stub.url, "model": "tiny", "access": str(tmp_path / "access"), "delivery": request.param,
    }  # fmt: skip
    lines = ["[backends.vllm]", *(f'{name} = "{value}"' for name, value in table.items()), "max_rank = 8"]
    (tmp_path / "vllm.toml").write_text("\n".join(lines))
    monkeypatch.setenv("IDIOLECT_CONFIG", str(tmp_path / "vllm.toml"))
    monkeypatch.setenv("IDIOLECT_BACKEND", "vllm")
    store, backend = open_store(config.load(), embed=False), VLLMBackend(**table, max_rank=8, empty=False, retries=0)
    for user, one in WEIGHTS.items():
        record = next(iter(store.all_records(user)))
        store.put_artifacts([
            Artifact.new(
                user, "adapter", method="lora", payload=b"{}", record_ids=[record.id], time=1.0, base_model=OURS,
                body=one.body,
            )
        ])  # fmt: skip
    yield Server(store, backend)
    backend.close()
    store.close()


def folders(server: Server, stub: VLLMStub) -> set[str]:
    """The adapters that lie in plain text somewhere."""
    files = stub.fetcher._files if server.backend.delivery == "resolver" else server.backend._delivery._files  # type: ignore[union-attr]
    return {path.name for path in files._root.glob("u-*")}  # type: ignore[union-attr]


@pytest.mark.parametrize("command", [["erase", "ana", "--yes"], ["adapters", "delete", "ana", "ID", "--yes"]])
def test_what_is_deleted_leaves_vllm_and_its_files_and_others_come_back(run: Run, server, stub, command) -> None:
    assert [server.answer(user) for user in ("ana", "ben")] == [said(WEIGHTS["ana"]), said(WEIGHTS["ben"])]
    mine, (his,) = server.adapters("ana"), server.adapters("ben")
    name, other = (server.backend._name(some) for some in (mine, (his,)))
    assert folders(server, stub) == stub.adapters.keys() == {name, other}
    done = run(*(mine[0].id if word == "ID" else word for word in command))
    assert "told" not in done.err
    assert name not in stub.adapters
    assert name not in folders(server, stub)
    if server.backend.delivery == "load":
        with pytest.raises(UpstreamError):  # once; the plugin brings it back at once
            server.answer("ben")
    assert server.answer("ben") == said(WEIGHTS["ben"])
    assert server.adapters("ana") == ()


@pytest.mark.parametrize("server", ["resolver"], indirect=True)
@pytest.mark.parametrize("answers", ["nothing", 401, "<html>"])
def test_where_vllm_cannot_be_told_the_erasure_holds_and_it_is_said_what_to_do(
    run: Run, server, stub, monkeypatch, answers
) -> None:
    if answers == "nothing":
        stub.close()
    else:
        told = (401, {"error": "no key"}) if answers == 401 else (200, answers)
        monkeypatch.setattr(stub, "answer", lambda *asked: told)
    done = run("erase", "ana", "--yes")
    assert done.json["key_destroyed"]
    assert "could not be told" in done.err
    assert "Restart it" in done.err
    assert server.adapters("ana") == ()


@pytest.mark.parametrize("server", ["resolver"], indirect=True)
def test_who_has_no_weights_is_erased_without_a_word_to_vllm(run: Run, server, stub) -> None:
    server.answer("ben")
    (own,) = server.adapters("ana")
    server.store.delete_artifacts("ana", [own.id])
    before = len(stub.seen)
    run("erase", "ana", "--yes")
    assert len(stub.seen) == before
