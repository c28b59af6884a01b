"""Bad disks, bad keys, bad pages: a clear error each, and nothing lost."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import orjson
import pytest

from helpers import HashEmbedder, open_store, say
from idiolect.errors import (
    ConfigError,
    IdiolectError,
    NotFound,
    SourceError,
    StoreBusy,
    StoreCorrupt,
    StoreError,
    StoreFull,
    WrongMasterKey,
)
from idiolect.store.erase import erase, verify
from idiolect.store.export import export, is_export, restore
from idiolect.store.finishing import Finished, keep_finished
from idiolect.store.keys import MasterKey
from idiolect.store.store import Store
from idiolect.turns import dump

SENTINEL = "xylophone-sentinel-9731"


def filled(folder: Path, n: int = 300) -> Store:
    store = open_store(folder, HashEmbedder())
    store.add([say("ana", f"{SENTINEL} {i}", 1e9 + i, "s") for i in range(n)])
    return store


def every_byte(folder: Path) -> bytes:
    return b"".join(p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file())


def test_nothing_readable_lies_on_the_disk(tmp_path):
    store = filled(tmp_path)
    keep_finished(store, [Finished("ana", 0, "ab" * 16, dump({"prompt": SENTINEL}))], 0.0)
    raw = every_byte(tmp_path)
    assert SENTINEL.encode() not in raw
    assert b"ana" not in every_byte(tmp_path / "data")[4096:] or b'"ana"' not in raw


def test_the_key_file_is_the_owners_alone(tmp_path):
    filled(tmp_path, 1)
    assert stat.S_IMODE((tmp_path / "keys" / "master.key").stat().st_mode) == 0o600


def test_a_backup_of_the_data_holds_nothing_readable_of_an_erased_person(tmp_path):
    store = filled(tmp_path)
    store.add([say("bob", "still here", 1.0)])
    store.close()
    shutil.copytree(tmp_path / "data", tmp_path / "backup")
    store = open_store(tmp_path)
    receipt = erase(store, "ana", 1e9)
    assert receipt.removed["records"] == 300
    assert receipt.key_destroyed
    assert verify(store, receipt.as_json())
    assert not verify(store, {**receipt.as_json(), "time": "2001-01-01T00:00:00+00:00"})
    wrapped = sqlite3.connect(tmp_path / "keys" / "keyring.db").execute("SELECT count(*) FROM key").fetchone()
    assert wrapped == (1,)
    store.close()
    shutil.rmtree(tmp_path / "data")
    shutil.copytree(tmp_path / "backup", tmp_path / "data")
    back = open_store(tmp_path)
    assert [u.id for u in back.users()] == ["bob"]
    assert list(back.all_records("ana")) == []
    with pytest.raises(NotFound):
        erase(back, "ana", 1e9)


def test_the_wrapped_key_leaves_no_copy_in_the_keyrings_files(tmp_path):
    store = filled(tmp_path, 3)
    wrapped = sqlite3.connect(tmp_path / "keys" / "keyring.db").execute("SELECT wrapped FROM key").fetchone()[0]
    assert wrapped in every_byte(tmp_path / "keys")
    erase(store, "ana", 1e9)
    assert wrapped not in every_byte(tmp_path / "keys")


def test_another_process_notices_an_erasure(tmp_path):
    mine, other = filled(tmp_path, 3), open_store(tmp_path)
    assert len(list(other.all_records("ana"))) == 3
    erase(mine, "ana", 1e9)
    assert list(other.all_records("ana")) == []
    other.add([say("ana", "after", 5.0)])  # must not be written under the destroyed key
    assert [r.output for r in open_store(tmp_path).all_records("ana")] == ["after"]


def test_a_wrong_master_key_opens_nothing_and_changes_nothing(tmp_path):
    filled(tmp_path, 3).close()
    key = tmp_path / "keys" / "master.key"
    right = key.read_text()
    key.write_text("00" * 32 + "\n")
    with pytest.raises(WrongMasterKey, match="does not open"):
        open_store(tmp_path)
    key.unlink()
    with pytest.raises(WrongMasterKey, match="missing but the keyring is not empty"):
        open_store(tmp_path)
    assert not key.exists()
    key.write_text("not hexadecimal")
    with pytest.raises(ConfigError, match="64 hexadecimal digits"):
        open_store(tmp_path)
    key.write_text(right)
    assert len(list(open_store(tmp_path).all_records("ana"))) == 3


def test_the_key_may_come_from_the_environment_or_a_person(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_KEY", "ab" * 32)
    Store.open(tmp_path / "d", tmp_path / "k", MasterKey("env:MY_KEY")).add([say("ana", "x", 1.0)])
    assert len(Store.open(tmp_path / "d", tmp_path / "k", MasterKey("env:MY_KEY")).users()) == 1
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="MY_KEY is not set"):
        Store.open(tmp_path / "d", tmp_path / "k", MasterKey("env:MY_KEY"))
    asked = MasterKey("prompt", lambda _: "correct horse")
    Store.open(tmp_path / "d2", tmp_path / "k2", asked).add([say("a", "x", 1.0)])
    assert Store.open(tmp_path / "d2", tmp_path / "k2", MasterKey("prompt", lambda _: "correct horse")).users()
    with pytest.raises(WrongMasterKey):
        Store.open(tmp_path / "d2", tmp_path / "k2", MasterKey("prompt", lambda _: "wrong horse"))
    with pytest.raises(ConfigError, match="nobody can be asked"):
        Store.open(tmp_path / "d2", tmp_path / "k2", MasterKey("prompt"))


def test_a_full_disk_is_said_and_what_was_there_stays(tmp_path):
    store = filled(tmp_path, 100)
    pages = store.rows._db().execute("PRAGMA page_count").fetchone()[0]
    store.rows._db().execute(f"PRAGMA max_page_count={pages + 3}")
    with pytest.raises(StoreFull, match="nothing was written"):
        store.add([say("ana", "y" * 100_000, 2e9 + i) for i in range(20)])
    assert len(list(store.all_records("ana"))) == 100
    store.rows._db().execute("PRAGMA max_page_count=1000000")
    assert store.add([say("ana", "y" * 100_000, 2e9)]).added == 1


def test_a_file_size_limit_of_the_system_loses_nothing(tmp_path):
    filled(tmp_path, 50).close()
    code = f"""
import resource, signal, sys
sys.path.insert(0, {str(Path(__file__).resolve().parents[1])!r})
from pathlib import Path
from helpers import open_store, say
from idiolect.errors import StoreError
store = open_store(Path({str(tmp_path)!r}))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
try:
    for i in range(100):
        store.add([say("ana", "z" * 50_000, 3e9 + i)])
        print("ack", i, flush=True)
except StoreError as error:
    print(type(error).__name__, error, flush=True)
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    acknowledged = out.stdout.count("ack")
    assert "StoreFull" in out.stdout, out.stdout + out.stderr
    assert len(list(open_store(tmp_path).all_records("ana"))) >= 50 + acknowledged


@pytest.mark.parametrize("where", [0.3, 0.5, 0.7, 0.9])
def test_a_damaged_page_is_noticed_and_never_read_as_something_else(tmp_path, where):
    store = filled(tmp_path, 600)
    truth = [r.output for r in store.all_records("ana")]
    store.rows._db().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    path = tmp_path / "data" / "data.db"
    raw = bytearray(path.read_bytes())
    at = int(len(raw) * where) // 8192 * 8192
    raw[at : at + 8192] = os.urandom(8192)
    path.write_bytes(raw)
    with pytest.raises(StoreCorrupt, match=r"damaged|does not verify"):
        read_it_all(tmp_path, truth)


def read_it_all(folder: Path, truth: list[str]) -> None:
    damaged = open_store(folder, HashEmbedder())
    damaged.rows.check()
    assert [r.output for r in damaged.all_records("ana")] == truth
    damaged.users()


def test_cells_cannot_be_swapped(tmp_path):
    store = filled(tmp_path, 5)
    db = store.rows._db()
    (a, one), (b, two) = db.execute("SELECT address, data FROM cell ORDER BY address LIMIT 2").fetchall()
    db.execute("UPDATE cell SET data = ? WHERE address = ?", (two, a))
    db.execute("UPDATE cell SET data = ? WHERE address = ?", (one, b))
    with pytest.raises(StoreCorrupt, match="does not verify"):
        list(store.all_records("ana"))


def test_a_file_that_is_no_database_is_said(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "data.db").write_bytes(b"hello" * 5000)
    with pytest.raises(StoreCorrupt, match="damaged"):
        open_store(tmp_path)


def test_a_newer_schema_is_not_touched(tmp_path):
    store = filled(tmp_path, 1)
    store.rows._db().execute("PRAGMA user_version=99")
    store.close()
    with pytest.raises(StoreError, match="newer idiolect"):
        open_store(tmp_path)


def test_a_lock_held_too_long_is_said(tmp_path, monkeypatch):
    store = filled(tmp_path, 1)
    monkeypatch.setattr("idiolect.store.sqlite.BUSY_SECONDS", 0.2)
    other = open_store(tmp_path)
    with store.rows.write(), pytest.raises(StoreBusy, match="Try again"):
        other.add([say("ana", "blocked", 9.0)])
    assert other.add([say("ana", "free again", 9.0)]).added == 1


def test_a_folder_that_cannot_be_written_is_said(tmp_path):
    (tmp_path / "data").write_text("a file where a folder should be")
    with pytest.raises((IdiolectError, OSError), match=r"data"):
        open_store(tmp_path)


# -- export ----------------------------------------------------------------------------------------------------


def state(store: Store, user: str):
    return (
        list(store.all_records(user)),
        store.artifacts(user),
        [{k: v for k, v in t.items() if k != "user"} for t in store.traces(user)],
    )


WEIGHTS = {"adapter": b"\x10" + bytes(7) + b'{"x":{}}' + b" " * 8, "other": b"\x00\xff" * 300}
"""Bodies without a configuration: one with the head of safetensors, one without."""


def full(folder: Path) -> Store:
    from idiolect.types import Artifact, Body

    store = filled(folder, 40)
    rid = next(store.all_records("ana")).id
    payloads = (b'{"claims":[]}', b"\x00\xff binary", b"[1, 2]")
    store.put_artifacts(Artifact.new("ana", "k", method="m", payload=p, record_ids=[rid], time=1.0) for p in payloads)
    store.put_artifacts(
        Artifact.new("ana", kind, method="m", payload=b"{}", record_ids=[rid], time=2.0, body=Body.of(data))
        for kind, data in WEIGHTS.items()
    )
    keep_finished(store, [Finished("ana", 0, "cd" * 16, dump({"id": "cd" * 16, "user": "ana", "answer": "x"}))], 0.0)
    store.set_groups("ana", ["g"])
    return store


def test_an_export_brings_back_the_same_state(tmp_path):
    store = full(tmp_path / "a")
    path = tmp_path / "ana.zip"
    manifest = export(store, "ana", path, now=1e9)
    assert is_export(path)
    assert manifest["files"]["records.jsonl"]["lines"] == 40
    other = open_store(tmp_path / "b", HashEmbedder())
    result = restore(other, path)
    assert (result.records.added, result.artifacts, result.traces) == (40, 5, 1)
    assert state(other, "ana") == state(store, "ana")
    assert {a.kind: a.body.read() for a in other.artifacts("ana") if a.body} == WEIGHTS
    again = restore(other, path)
    assert (again.records.added, again.records.known, again.artifacts, again.traces) == (0, 40, 0, 0)
    assert state(other, "ana") == state(store, "ana")
    with zipfile.ZipFile(path) as archive:
        assert SENTINEL in archive.read("records.jsonl").decode()
        assert "idiolect import" in archive.read("README.txt").decode()


def test_a_second_export_is_the_same_but_for_its_time(tmp_path):
    store = full(tmp_path / "a")
    one = export(store, "ana", tmp_path / "1.zip", now=1e9)
    other = open_store(tmp_path / "b")
    restore(other, tmp_path / "1.zip", embed=False)
    two = export(other, "ana", tmp_path / "2.zip", now=1e9)
    assert one == two


def test_a_damaged_export_changes_nothing(tmp_path):
    store = full(tmp_path / "a")
    export(store, "ana", tmp_path / "1.zip", now=1e9)
    with zipfile.ZipFile(tmp_path / "1.zip") as good, zipfile.ZipFile(tmp_path / "2.zip", "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            bad.writestr(name, data.replace(SENTINEL.encode(), b"tampered") if name == "records.jsonl" else data)
    other = open_store(tmp_path / "b")
    with pytest.raises(SourceError, match="does not match the manifest; nothing was imported"):
        restore(other, tmp_path / "2.zip")
    assert other.users() == []
    assert not is_export(tmp_path / "a" / "keys" / "master.key")


def test_weights_travel_as_files_of_their_own(tmp_path):
    pytest.importorskip("safetensors")
    from idiolect.training.factors import Factors, LowRank
    from idiolect.training.peft_format import dump as blob
    from idiolect.training.peft_format import load_folder
    from idiolect.types import Artifact, Body

    store = full(tmp_path / "a")
    a, b = np.ones((2, 8), np.float32), np.arange(12, dtype=np.float32).reshape(6, 2)
    change = LowRank({"model.layers.0.self_attn.q_proj": Factors(a, b)}, 2.0, "tiny@1")
    body = Body.of(blob(change))
    made = Artifact.new("ana", "adapter", method="lora", payload=b"{}", record_ids=[], time=3.0, body=body)
    store.put_artifacts([made])
    manifest = export(store, "ana", tmp_path / "1.zip", now=1e9)
    folder = f"adapters/{made.id}"
    assert manifest["files"][f"{folder}/adapter_model.safetensors"]["bytes"] == body.size
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        archive.extractall(tmp_path / "out")
        assert "adapters/        3 changes" in archive.read("README.txt").decode()
    assert load_folder(tmp_path / "out" / folder, "tiny@1") == change
    other = open_store(tmp_path / "b")
    restore(other, tmp_path / "1.zip", embed=False)
    assert other.artifacts("ana")[0].id == made.id
    assert other.artifacts("ana")[0].body.read() == body.read()


@pytest.mark.parametrize("how", ["tampered", "not in the manifest", "missing"])
def test_an_export_with_other_weights_changes_nothing(tmp_path, how):
    store = full(tmp_path / "a")
    export(store, "ana", tmp_path / "1.zip", now=1e9)
    with zipfile.ZipFile(tmp_path / "1.zip") as good, zipfile.ZipFile(tmp_path / "2.zip", "w") as bad:
        for name in good.namelist():
            data = good.read(name)
            if name == "manifest.json" and how == "not in the manifest":
                manifest = orjson.loads(data)
                manifest["files"] = {n: entry for n, entry in manifest["files"].items() if "adapters" not in n}
                data = orjson.dumps(manifest)
            if name.endswith("body.bin"):
                if how == "missing":
                    continue
                data = data[::-1] if how == "tampered" else data
            bad.writestr(name, data)
    other = open_store(tmp_path / "b")
    with pytest.raises(SourceError, match="nothing was imported"):
        restore(other, tmp_path / "2.zip")
    assert other.users() == []


def test_an_export_of_before_there_were_weights_still_imports(tmp_path):
    export(filled(tmp_path / "a", 3), "ana", tmp_path / "1.zip", now=1e9)
    with zipfile.ZipFile(tmp_path / "1.zip") as archive:
        assert not [name for name in archive.namelist() if name.startswith("adapters")]
        assert "adapters" not in archive.read("README.txt").decode()
    assert restore(open_store(tmp_path / "b"), tmp_path / "1.zip", embed=False).records.added == 3


def test_exporting_nobody_says_so(tmp_path):
    with pytest.raises(NotFound, match="idiolect users"):
        export(open_store(tmp_path), "nobody", tmp_path / "x.zip", now=1.0)
    assert not (tmp_path / "x.zip").exists()


def test_the_receipt_names_no_one(tmp_path):
    store = filled(tmp_path, 2)
    assert b"ana" not in orjson.dumps(erase(store, "ana", 1e9).as_json()).replace(b"banana", b"")
