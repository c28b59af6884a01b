from __future__ import annotations

from dataclasses import dataclass

import pytest

from idiolect.errors import ConfigError, UnknownName
from idiolect.registry import Registry, build, make_folded, make_method, method, methods, read_settings, settings_of


def test_only_frozen_dataclasses_are_methods():
    class Loose:
        pass

    with pytest.raises(ConfigError, match=r"method 'loose': Loose must be a frozen dataclass"):
        method("loose", level="input", paper="none")(Loose)
    assert "loose" not in methods.names()


def test_two_things_of_one_name_are_refused():
    registry: Registry[object] = Registry("thing", "idiolect.nothing", ())

    @dataclass(frozen=True)
    class One:
        pass

    @dataclass(frozen=True)
    class Two:
        pass

    registry.add("a", One)
    registry.add("a", One)
    with pytest.raises(ConfigError, match="two things are named 'a'"):
        registry.add("a", Two)
    with pytest.raises(UnknownName, match="Known: a"):
        registry.get("b")


def test_settings_come_back_as_given_and_are_checked():
    name, made = make_method({"name": "retrieval", "k": 7, "kinds": ["content"]})
    assert (name, settings_of(made)["k"], settings_of(made)["kinds"]) == ("retrieval", 7, ("content",))
    assert build(methods.get("retrieval"), settings_of(made)) == made
    with pytest.raises(ConfigError, match="needs a 'name' key"):
        make_method({"k": 7})


def test_a_list_is_written_with_bars():
    name, table = read_settings("auto:candidates=retrieval|profile:hold_out=4")
    assert (name, table) == ("auto", {"candidates": ["retrieval", "profile"], "hold_out": 4})
    ((_, made),) = make_folded("context_steering:grid=0|1.5")
    assert made.grid == (0.0, 1.5)
