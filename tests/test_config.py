from __future__ import annotations

import pytest

from idiolect.config import Settings, load, parse
from idiolect.errors import ConfigError


def test_the_default_needs_no_file(tmp_path):
    settings = load()
    assert settings.backend == "llamacpp"
    assert settings.paths.data.endswith("data")
    assert settings.paths.master_key.startswith("file:")


def test_file_then_environment_then_caller(tmp_path, monkeypatch):
    path = tmp_path / "idiolect.toml"
    path.write_text('backend = "openai"\nembedder = "none"\n[prompt]\ntokens = 100\n[backends.openai]\nmodel = "m"\n')
    assert load(path).prompt.tokens == 100
    monkeypatch.setenv("IDIOLECT_PROMPT_TOKENS", "200")
    monkeypatch.setenv("IDIOLECT_METHODS", "memory, retrieval")
    settings = load(path)
    assert (settings.prompt.tokens, settings.methods) == (200, ("memory", "retrieval"))
    assert load(path, {"prompt": {"tokens": 300}}).prompt.tokens == 300
    assert settings.backends["openai"] == {"model": "m"}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"bakcend": "x"}, "Did you mean 'backend'"),
        ({"prompt": {"token": 1}}, r"Did you mean 'prompt\.tokens'"),
        ({"prompt": {"tokens": "lots"}}, r"prompt\.tokens.*lots"),
        ({"serve": {"port": "http"}}, r"serve\.port"),
    ],
)
def test_a_wrong_setting_says_which_and_what_was_meant(table, message):
    with pytest.raises(ConfigError, match=message):
        parse(table)


def test_a_missing_or_broken_file_is_said(tmp_path):
    with pytest.raises(ConfigError, match="idiolect config init"):
        load(tmp_path / "none.toml")
    (tmp_path / "bad.toml").write_text("a = = 1")
    with pytest.raises(ConfigError, match=r"bad\.toml"):
        load(tmp_path / "bad.toml")


def test_settings_are_a_value():
    assert Settings() == Settings()
