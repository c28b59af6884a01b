"""What was learnt into weights, at the command line."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from cli.conftest import Run
from idiolect import config
from idiolect.opening import open_store
from idiolect.training.factors import Factors, LowRank
from idiolect.types import EVERYONE, Artifact, Body


def change(n: int) -> LowRank:
    a = np.full((2, 4), n, np.float32)
    return LowRank({"model.layers.0.self_attn.q_proj": Factors(a, np.ones((4, 2), np.float32))}, 2.0, "tiny@1")


def adapter(n: int, user: str = "ana", rank: int = 2) -> Artifact:
    from idiolect.training.peft_format import dump

    return Artifact.new(
        user, "adapter", method="lora", settings={"rank": rank}, payload=b"{}", record_ids=(), time=1.7e9 + n * 86400,
        base_model="tiny@1", scores={"gain": 0.25}, body=Body.of(dump(change(n))),
    )  # fmt: skip


@pytest.fixture
def made(run: Run, ana: Path) -> list[Artifact]:
    """Three versions of ana's adapter, one of everyone's."""
    pytest.importorskip("safetensors")
    found = [adapter(n) for n in range(3)]
    keep(*found, adapter(9, EVERYONE))
    return found


def keep(*artifacts: Artifact) -> None:
    store = open_store(config.load())
    store.put_artifacts(artifacts)
    store.close()


def ids(run: Run, *args: str) -> list[str]:
    return [line["id"] for line in run("adapters", *(args or ("ana",)), "--json").lines]


def test_adapters_are_listed_with_what_they_were_made_from(run: Run, made: list[Artifact]) -> None:
    assert ids(run) == [one.id for one in reversed(made)]
    newest, *_ = run("adapters", "ana", "--json").lines
    assert (newest["newest"], newest["rank"], newest["scores"]) == (True, 2, {"gain": 0.25})
    assert newest["date"].startswith("2023-11-1")
    assert [line["user"] for line in run("adapters", "--all", "--json").lines] == ["ana"] * 3 + [EVERYONE]
    assert ids(run, "ana", "ben") == ids(run)
    shown = run("adapters", "ana").out
    assert made[2].id[:8] in shown
    assert "gain 0.25" in shown
    assert shown.count("newest") == 1


def test_no_adapters_and_wrong_input(run: Run, ana: Path) -> None:
    assert "idiolect fit" in run("adapters", "ana").err
    assert "Did you mean 'ana'" in run("adapters", "ann", code=1).err
    assert "--all" in run("adapters", "list", code=1).err
    assert "no adapter 'zz'" in run("adapters", "show", "zz", code=1).err
    assert "no earlier version" in run("adapters", "rollback", "ana", code=1).err


def test_one_is_shown_whosever_it_is(run: Run, made: list[Artifact]) -> None:
    document = run("adapters", "show", made[0].id[:12], "--json").json
    assert (document["user"], document["id"], document["newest"]) == ("ana", made[0].id, False)
    assert document["weights"]["target_modules"] == ["model.layers.0.self_attn.q_proj"]
    assert "weights: r 2" in run("adapters", "show", made[0].id).out


def test_an_exported_folder_is_the_adapter(run: Run, made: list[Artifact], tmp_path: Path) -> None:
    from idiolect.training.peft_format import load_folder

    out = tmp_path / "out"
    args = ("adapters", "export", "ana", made[1].id[:10], "--out", str(out))
    assert run(*args, "--base", "tiny/llama", "--json").json["written"] == [str(out)]
    assert load_folder(out) == change(1)
    assert '"tiny/llama"' in (out / "adapter_config.json").read_text()
    assert "already" in run(*args, code=1).err
    assert "--out FOLDER" in run(*args[:4], code=1).err
    assert "no adapter" in run("adapters", "export", "ben", made[1].id, "--out", "x", code=1).err


def test_a_gguf_file_is_written_for_a_base(
    run: Run, made: list[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base, file = tmp_path / "base.gguf", tmp_path / "ana.gguf"
    base.write_bytes(b"")
    args = ("adapters", "export", "ana", made[1].id, "--gguf", str(file))
    assert "--base" in run(*args, code=1).err
    assert "no model file" in run(*args, "--base", "nowhere.gguf", code=1).err
    told: list[object] = []
    stub = types.ModuleType("gguf_format")
    stub.save = lambda *given: told.extend(given)  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "idiolect.training.gguf_format", stub)
    run(*args, "--base", str(base))
    assert told == [change(1), base, file]


def test_going_back_deletes_the_newer_versions_once_it_is_wanted(run: Run, made: list[Artifact]) -> None:
    assert "nothing was deleted" in run("adapters", "rollback", "ana", input="n\n", code=1).err
    assert len(ids(run)) == 3
    done = run("adapters", "rollback", "ana", "--yes", "--json").json
    assert (done["newest"]["id"], done["deleted"]) == (made[1].id, [made[2].id])
    assert ids(run) == [made[1].id, made[0].id]
    assert "newest version already" in run("adapters", "rollback", "ana", "--to", made[1].id, code=1).err
    assert "serves again" in run("adapters", "rollback", "ana", "--to", made[0].id[:9], input="y\n").out
    assert ids(run) == [made[0].id]


def test_which_adapter_goes_back_must_be_clear(run: Run, made: list[Artifact]) -> None:
    keep(adapter(4, rank=4), adapter(5, rank=4))
    assert "--to ID" in run("adapters", "rollback", "ana", "--yes", code=1).err
    done = run("adapters", "rollback", "ana", "--to", made[0].id, "--yes", "--json").json
    assert done["deleted"] == [made[2].id, made[1].id]


def test_deleting_asks_and_the_version_before_is_the_newest(run: Run, made: list[Artifact]) -> None:
    assert "nothing was deleted" in run("adapters", "delete", "ana", made[2].id, input="\n", code=1).err
    run("adapters", "delete", "ana", made[2].id, "--yes")
    assert ids(run) == [made[1].id, made[0].id]
    assert run("adapters", "delete", "*", ids(run, "--all")[-1], "--yes", "--json").json["deleted"]
    assert len(ids(run, "--all")) == 2


def test_an_export_and_an_import_bring_weights_back(run: Run, made: list[Artifact]) -> None:
    assert "of weights" in run("export", "ana", "-o", "ana.zip").out
    run("erase", "ana", "--yes")
    assert run("import", "ana.zip", "--dry-run", "--json").json["records"] == 4
    assert run("import", "ana.zip", "--json").json["artifacts"] == 3
    assert ids(run) == [one.id for one in reversed(made)]


def test_moving_tells_what_became_of_each(run: Run, made: list[Artifact]) -> None:
    assert "name the users" in run("adapters", "move", "--to", "toy", code=1).err
    (told,) = run("adapters", "move", "ana", "--to", "toy", "--json").lines
    assert (told["old"], told["new"], told["how"]) == (made[2].id, "", "replay")
    assert "training" in told["why"]
    assert "was not moved" in run("adapters", "move", "--all", "--to", "toy").out
    assert (
        "no method 'nothing'"
        in run("adapters", "move", "ana", "--to", "toy", "--how", "regenerate", "--method", "nothing", code=1).err
    )
    assert "--from-model" in run("adapters", "move", "ana", "--to", "toy", "--how", "distil", code=1).err
