from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path

import pytest

from cli.conftest import Run, process
from idiolect import config
from idiolect.config import Settings

HEAVY = "numpy torch transformers aiohttp onnxruntime xllamacpp pydantic starlette uvicorn cryptography sqlite3"


def test_init_derives_the_file_from_the_settings(run: Run, home: Path) -> None:
    run("config", "init")
    text = (home / "idiolect.toml").read_text()
    assert tomllib.loads(text) == {"paths": {}, "prompt": {}, "peers": {}, "serve": {}}
    uncommented = "\n".join(
        line[2:] if line.startswith("# ") and " = " in line and "``" not in line else line for line in text.splitlines()
    )
    assert config.parse(tomllib.loads(uncommented)) == Settings().resolved()
    assert "# Budget for all slots together.\n# tokens = 600" in text
    assert "--force" in run("config", "init", code=1).err


def test_add_key_keeps_only_the_hash(run: Run, home: Path) -> None:
    file = home / "idiolect.toml"
    file.parent.mkdir(parents=True)
    before = '# mine\r\nembedder = "none"   # words\r\n[serve]\r\nport = 9\r\n[prompt]\r\ntokens = 5'
    file.write_bytes(before.encode())
    file.chmod(0o640)
    made = run("config", "add-key", "--user", 'a"na', "--json").json
    key = made["key"]
    text = file.read_bytes().decode()
    assert text.startswith(before)
    assert key not in text
    (entry,) = tomllib.loads(text)["serve"]["keys"]
    assert entry == {"hash": "sha256:" + hashlib.sha256(key.encode()).hexdigest(), "user": 'a"na', "admin": False}
    assert file.stat().st_mode & 0o777 == 0o640
    second = run("config", "add-key", "--admin")
    assert second.out.strip() not in file.read_text()
    settings = config.load()
    assert (settings.serve.port, settings.prompt.tokens, len(settings.serve.keys)) == (9, 5, 2)


def test_add_key_makes_a_private_file(run: Run, home: Path) -> None:
    run("config", "add-key", "--admin")
    assert (home / "idiolect.toml").stat().st_mode & 0o777 == 0o600


def test_add_key_refuses_what_it_cannot_keep(run: Run, home: Path) -> None:
    file = home / "idiolect.toml"
    file.parent.mkdir(parents=True)
    for text, said in (
        ('[serve]\nkeys = [{ hash = "sha256:00", admin = true }]\n', "no key was made"),
        ("serve = {}\n", "no key was made"),
        ("port = \n", "idiolect.toml"),
    ):
        file.write_text(text)
        done = run("config", "add-key", code=1)
        assert said in done.err
        assert done.out == ""
        assert file.read_text() == text
    assert "not both" in run("config", "add-key", "--admin", "--user", "ana", code=2).err


def test_show_hides_secrets(run: Run, home: Path) -> None:
    home.mkdir()
    (home / "idiolect.toml").write_text('[backends.openai]\nbase_url = "http://x/v1"\napi_key = "sk-hidden"\n')
    run("config", "add-key", "--user", "ana")
    shown = run("config", "show")
    assert "sk-hidden" not in shown.out
    assert "http://x/v1" in shown.out
    assert tomllib.loads(shown.out)["serve"]["keys"][0]["user"] == "ana"
    document = run("config", "show", "--json").json
    assert document["backends"]["openai"]["api_key"] == "(hidden)"
    assert document["paths"]["data"] == str(home / "data")


def test_config_and_home_options(run: Run, tmp_path: Path) -> None:
    other = tmp_path / "other"
    assert run("--home", str(other), "config", "path").out.strip() == str(other / "idiolect.toml")
    file = tmp_path / "mine.toml"
    assert "there is no settings file" in run("--config", str(file), "config", "show", code=1).err
    file.write_text("[prompt]\ntokns = 3\n")
    assert "Did you mean 'prompt.tokens'" in run("--config", str(file), "config", "show", code=1).err
    file.write_text('[prompt]\ntokens = "many"\n')
    assert "prompt.tokens" in run("--config", str(file), "config", "show", code=1).err


def test_check(run: Run, ana: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = run("config", "check", "--json").json
    assert [(item["name"], item["ok"]) for item in found] == [
        (name, True) for name in ("settings", "methods", "backend", "embedder", "store")
    ]
    monkeypatch.setenv("IDIOLECT_EMBEDDER", "minilm")
    monkeypatch.setenv("IDIOLECT_METHODS", "profil")
    shown = run("config", "check", code=1).out
    assert "idiolect models pull minilm" in shown
    assert "Did you mean 'profile'" in shown
    (home / "keys" / "master.key").write_text("0" * 64)
    assert "does not open" in run("config", "check", code=1).out


def test_check_finishes_an_erasure_that_was_cut_short(run: Run, ana: Path, home: Path) -> None:
    from idiolect.cli.session import opened_store

    with opened_store() as store:
        store.keyring.destroy("ana")
    assert "1 erasures were cut short" in run("config", "check").out
    assert "cut short" not in run("config", "check").out


def test_check_reports_a_damaged_store(run: Run, ana: Path, home: Path) -> None:
    file = home / "data" / "data.db"
    raw = bytearray(file.read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    file.write_bytes(raw)
    assert "FAIL store" in run("config", "check", code=1).out


def test_methods_come_from_the_registry(run: Run) -> None:
    from idiolect import registry

    found = run("methods", "--json").json
    assert [method["name"] for method in found] == registry.methods.names()
    one = run("methods", "retrieval", "--json").json
    k = next(setting for setting in one["settings"] if setting["name"] == "k")
    assert (k["type"], k["default"]) == ("int", 32)
    assert "token budget" in k["about"]
    assert "retrieval" in run("methods").out
    assert "Candidates" in run("methods", "retrieval").out
    assert "Did you mean 'profile'" in run("methods", "profiles", code=1).err


def test_models(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {model["name"]: model["path"] for model in run("models", "list", "--json").json}
    assert names["minilm"] is None
    assert "minilm" in run("models", "list").out
    assert "idiolect models pull minilm" in run("models", "path", "minilm", code=1).err
    assert "Did you mean 'minilm'" in run("models", "pull", "minilmm", code=1).err
    file = tmp_path / "own.gguf"
    file.write_bytes(b"GGUF")
    assert run("models", "path", str(file)).out.strip() == str(file)


def test_pull_shows_the_size(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import idiolect.models

    def pull(name: str, progress: object, **_: object) -> Path:
        progress(1, 2)  # type: ignore[operator]
        return tmp_path / name

    monkeypatch.setattr(idiolect.models, "pull", pull)
    done = run("models", "pull", "minilm")
    assert done.out.strip() == str(tmp_path / "minilm")
    assert "23 MB" in done.err


def test_version_and_no_command(run: Run) -> None:
    assert run("--version").out.startswith("idiolect ")
    assert "Usage" in run(code=2).out + run(code=2).err
    assert "Did you mean" in run("serch", code=2).err


@pytest.mark.process
def test_help_imports_nothing_heavy(tmp_path: Path) -> None:
    probe = (
        "import sys, idiolect.cli\n"
        "sys.argv = ['idiolect', '--help']\n"
        "try: idiolect.cli.main()\n"
        "except SystemExit: pass\n"
        "print('LOADED', *sorted({name.split('.')[0] for name in sys.modules}))"
    )
    child = process(code=probe)
    out, err = child.communicate(timeout=60)
    loaded = set(out.rsplit("LOADED", 1)[1].split())
    heavy = set(HEAVY.split())
    assert not loaded & heavy, loaded & heavy
    assert "Usage" in out, err


@pytest.mark.process
def test_broken_pipe_is_silent(run: Run, ana: Path) -> None:
    child = process("search", "ana", "cake", "--json")
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.wait(timeout=60) == 141
    assert child.stderr.read() == ""
    child.stderr.close()


@pytest.mark.process
def test_debug_shows_the_traceback(run: Run) -> None:
    child = process("--debug", "import", "nothing")
    _, err = child.communicate(timeout=60)
    assert child.returncode == 1
    assert "Traceback" in err
    assert "SourceError" in err


def test_pull_without_a_name_fetches_what_the_settings_use(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import idiolect.models

    monkeypatch.setattr(idiolect.models, "find", lambda name: tmp_path / name)
    monkeypatch.setenv("IDIOLECT_BACKEND", "llamacpp")
    monkeypatch.setenv("IDIOLECT_EMBEDDER", "static")
    assert [m["name"] for m in run("models", "pull", "--json").json] == ["smollm2-135m-instruct", "wordllama"]
