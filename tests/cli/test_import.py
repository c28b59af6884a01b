from __future__ import annotations

import json
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from cli.conftest import RECORDS, Run, process, write
from idiolect.errors import StoreFull
from idiolect.store.store import Store


def test_counts_and_idempotence(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", RECORDS)
    first = run("import", str(file), "--json").json
    assert (first["added"], first["known"], first["users"]) == (5, 0, {"ana": 4, "ben": 1})
    again = run("import", str(file), "--json").json
    assert (again["added"], again["known"]) == (0, 5)
    assert [line["records"] for line in run("users", "--json").lines] == [4, 1]


def test_dry_run_writes_nothing(run: Run, tmp_path: Path, home: Path) -> None:
    file = write(tmp_path / "a.jsonl", RECORDS)
    assert run("import", str(file), "--dry-run", "--json").json["read"] == 5
    assert not home.exists()


def test_user_overrides(run: Run, tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", RECORDS)
    assert run("import", str(file), "--user", "zoe", "--json").json["users"] == {"zoe": 5}


def test_skipped_with_reason_file_and_line(run: Run, tmp_path: Path) -> None:
    file = write(
        tmp_path / "a.jsonl", [*RECORDS, *({"user_id": "ana", "output": 3, "kind": f"k{i}"} for i in range(30))]
    )
    log = tmp_path / "skipped.jsonl"
    shown = run("import", str(file), "--skipped", str(log))
    assert "30 skipped" in shown.out
    assert "a.jsonl:6: output must be text" in shown.out
    assert shown.out.count("a.jsonl:") == 20
    assert "10 more" in shown.err
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["line"] for row in rows] == list(range(6, 36))
    assert len(run("import", str(file), "--json").json["skipped"]["items"]) == 30


def test_settings_of_a_format(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_text("customer;review\nana;liked the tea\n")
    done = run("import", str(file), "--set", "output=review", "--set", "user=customer", "--json").json
    assert done["users"] == {"ana": 1}
    assert "Did you mean 'review'" in run("import", str(file), "--set", "output=reviw", code=1).err
    assert "Did you mean 'output'" in run("import", str(file), "--set", "outpt=review", code=1).err
    assert "KEY=VALUE" in run("import", str(file), "--set", "output", code=2).err


def test_wrong_input(run: Run, tmp_path: Path, home: Path) -> None:
    missing = run("import", "nothing.jsonl", code=1)
    assert missing.err == "error: there is no file or folder nothing.jsonl\n"
    file = write(tmp_path / "a.jsonl", RECORDS)
    assert "Did you mean 'jsonl'" in run("import", str(file), "--format", "jsonk", code=1).err
    odd = tmp_path / "odd.bin"
    odd.write_bytes(b"\x00\x01")
    assert "no format that is known" in run("import", str(odd), code=1).err


def test_missing_embedder_is_said_before_anything_is_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IDIOLECT_EMBEDDER", "minilm")
    file = write(tmp_path / "a.jsonl", RECORDS)
    assert "idiolect models pull minilm" in run("import", str(file), code=1).err
    assert run("import", str(file), "--no-embed", "--json").json["added"] == 5


def test_failure_half_way_says_what_was_kept(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.jsonl", ({"user_id": "ana", "output": f"note {i}"} for i in range(5000)))
    plain, calls = Store.add, 0

    def add(self: Store, *args: object, **kw: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 2:
            raise StoreFull("the disk is full")
        return plain(self, *args, **kw)  # type: ignore[arg-type]

    monkeypatch.setattr(Store, "add", add)
    failed = run("import", str(file), code=1)
    assert "Stopped after 2,000 added, 0 known" in failed.err
    assert "error: the disk is full" in failed.err
    monkeypatch.setattr(Store, "add", plain)
    done = run("import", str(file), "--json").json
    assert (done["added"], done["known"]) == (3000, 2000)


@pytest.mark.process
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL])
def test_interrupted_import_goes_on(run: Run, tmp_path: Path, home: Path, sent: signal.Signals) -> None:
    n = 200_000  # seconds of work: a busy machine may let this process look late
    file = write(tmp_path / "a.jsonl", ({"user_id": "ana", "output": f"note {i} of many"} for i in range(n)))
    child = process("import", str(file))
    _wait_for_rows(home / "data" / "data.db", 4000)
    child.send_signal(sent)
    _, err = child.communicate(timeout=60)
    if sent == signal.SIGINT:
        assert child.returncode == 130
        assert "Run the same again to go on" in err
    done = run("import", str(file), "--json").json
    assert done["known"] >= 2000
    assert done["added"] + done["known"] == n
    assert run("users", "--json").lines[0]["records"] == n


def _wait_for_rows(path: Path, count: int) -> None:
    """Wait until another process has so many cells in its database."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as db:
                if db.execute("SELECT count(*) FROM cell").fetchone()[0] >= count:
                    return
        except sqlite3.OperationalError:
            pass
        time.sleep(0.01)
    raise AssertionError("the import did not get going")


def test_export_restores_to_the_same_state(run: Run, ana: Path, tmp_path: Path) -> None:
    run("ask", "ana", "which cake?")
    run("profile", "ana", "--refresh")
    before = run("search", "ana", "cake", "--json").json
    zip_ = tmp_path / "ana.zip"
    manifest = run("export", "ana", "-o", str(zip_), "--json").json
    counts = {name: entry["lines"] for name, entry in manifest["files"].items()}
    assert counts == {"records.jsonl": 5, "artifacts.jsonl": 1, "traces.jsonl": 1, "states.jsonl": 4}
    assert run("import", str(zip_), "--dry-run", "--json").json["records"] == 5
    run("erase", "ana", "--yes")
    done = run("import", str(zip_), "--json").json
    assert (done["user"], done["added"], done["artifacts"], done["traces"]) == ("ana", 5, 1, 1)
    assert run("search", "ana", "cake", "--json").json == before


def test_export_refuses_to_overwrite(run: Run, ana: Path, tmp_path: Path) -> None:
    assert run("export", "ana").out.startswith("ana.zip: 4 records")
    assert "--force" in run("export", "ana", code=1).err
    run("export", "ana", "--force")
    assert [path.name for path in tmp_path.glob("ana.zip*")] == ["ana.zip"]
    assert "no user 'anna'. Did you mean 'ana'" in run("export", "anna", code=1).err
    assert not (tmp_path / "anna.zip").exists()


def test_embed_everybody(run: Run, ana: Path) -> None:
    assert run("embed", "--json").json["embedded"] == 0
    assert "Did you mean 'ana'" in run("embed", "anna", code=1).err
