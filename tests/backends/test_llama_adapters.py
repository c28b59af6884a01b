"""What is loaded when, with an engine that only remembers what it was made of."""

import stat
import sys
import threading
import time

import pytest

from idiolect.backends import _llama_adapters
from idiolect.backends._llama_adapters import Residents
from idiolect.errors import InputError
from idiolect.types import Adapter, Body


def adapter(name, weight=1.0):
    return Adapter(name, weight, Body.of(name.encode()))


class Engine:
    def __init__(self, holds):
        self.holds, self.closed = holds, False

    def close(self):
        self.closed = True


class World:
    """Residents with a record of every engine that was made; an adapter named ``bad`` cannot be written."""

    def __init__(self, keep=2):
        self.engines, self.paths, self.gone = [], [], set()
        self.residents = Residents(self._make, self._write, keep)

    def _make(self, files):
        assert not any(not engine.closed for engine in self.engines), "two engines at once"
        self.paths += files
        self.engines.append(Engine([file.read_text() for file in files]))
        return self.engines[-1]

    def _write(self, one, path):
        if one.id in self.gone | {"bad"}:
            raise InputError(f"adapter {one.id} cannot be loaded")
        path.write_bytes(one.body.read())

    def use(self, *adapters):
        """Return what a request with these adapters would be computed with."""
        with self.residents.lease(adapters) as lease:
            return {lease.engine.holds[one["id"]]: one["scale"] for one in lease.lora if one["scale"]}

    @property
    def holds(self):
        return sorted(self.engines[-1].holds)


def test_a_request_says_a_scale_for_everything_that_is_loaded():
    world = World()
    assert world.use() == {}
    assert world.use(adapter("a"), adapter("b", 0.5)) == {"a": 1.0, "b": 0.5}
    with world.residents.lease([adapter("b", 0.25)]) as lease:
        assert sorted((lease.engine.holds[one["id"]], one["scale"]) for one in lease.lora) == [("a", 0.0), ("b", 0.25)]
    with world.residents.lease() as lease:
        assert [one["scale"] for one in lease.lora] == [0.0, 0.0]
    assert world.use(adapter("a", 0.5), adapter("a", 0.25)) == {"a": 0.75}
    assert len(world.engines) == 2


def test_no_weight_loads_nothing():
    world = World()
    assert world.use(adapter("a", 0.0)) == {}
    assert world.holds == []


def test_the_one_least_recently_used_goes_first():
    world = World(keep=2)
    for name in ("a", "b", "a", "c"):
        assert world.use(adapter(name)) == {name: 1.0}
    assert world.holds == ["a", "c"]
    assert world.use(adapter("b")) == {"b": 1.0}
    assert world.holds == ["b", "c"]
    made = len(world.engines)
    assert (world.use(adapter("c")), world.use(adapter("b"))) == ({"c": 1.0}, {"b": 1.0})
    assert len(world.engines) == made


def test_one_request_may_need_more_than_are_kept():
    world = World(keep=1)
    assert len(world.use(*map(adapter, "abc"))) == 3
    assert world.use(adapter("d")) == {"d": 1.0}
    assert world.holds == ["d"]


def test_the_same_name_with_other_weights_is_another_adapter():
    world = World()
    world.use(Adapter("a", 1.0, Body.of(b"old")))
    assert world.use(Adapter("a", 1.0, Body.of(b"new"))) == {"new": 1.0}


def test_what_cannot_be_loaded_disturbs_nobody_else():
    world = World()
    world.use(adapter("a"))
    with pytest.raises(InputError, match="bad"):
        world.use(adapter("a"), adapter("bad"))
    assert (world.use(adapter("a")), len(world.engines)) == ({"a": 1.0}, 1)
    world.gone = {"a"}  # erased since
    assert world.use(adapter("b")) == {"b": 1.0}
    assert world.holds == ["b"]
    with pytest.raises(InputError, match="a cannot"):
        world.use(adapter("a"))


def test_an_engine_that_cannot_be_made_is_made_by_the_next_request(monkeypatch):
    world = World()
    world.use(adapter("a"))
    make = world.residents._make
    monkeypatch.setattr(world.residents, "_make", lambda files: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.use(adapter("b"))
    monkeypatch.setattr(world.residents, "_make", make)
    assert world.use(adapter("a")) == {"a": 1.0}


def test_forgetting_releases_what_was_loaded():
    world = World()
    world.use(adapter("a"), adapter("b"))
    assert world.residents.forget(["x"]) == 0
    assert not world.engines[-1].closed
    assert world.residents.forget({"a", "x"}) == 1
    assert world.engines[-1].closed
    assert world.residents.engine is None
    assert world.use() == {}
    assert world.holds == ["b"]
    world.residents.close()
    assert world.use() == {}
    assert world.holds == []


@pytest.mark.parametrize("platform", [sys.platform, "elsewhere"])
def test_files_are_the_owners_alone_and_gone_once_loaded(platform, monkeypatch, tmp_path):
    monkeypatch.setattr(_llama_adapters.sys, "platform", platform)
    monkeypatch.setattr(_llama_adapters.tempfile, "tempdir", str(tmp_path))
    seen = []
    world = World()
    write = world.residents._write

    def watched(one, path):
        write(one, path)
        seen.extend(stat.S_IMODE(folder.stat().st_mode) for folder in tmp_path.iterdir())

    monkeypatch.setattr(world.residents, "_write", watched)
    world.use(adapter("a"))
    assert seen == ([] if platform == "linux" else [0o700])
    assert not any(path.exists() for path in world.paths)
    assert not list(tmp_path.iterdir())
    with pytest.raises(InputError):
        world.use(adapter("bad"))
    assert not list(tmp_path.iterdir())


def test_a_change_waits_for_running_requests_and_new_ones_wait_for_it():
    world = World()
    order = []
    first = world.residents.lease([adapter("a")])
    first.__enter__()

    def later(name):
        order.append((name, world.use(adapter(name))))

    changing = threading.Thread(target=later, args=("b",))
    changing.start()
    while not world.residents._changing:
        time.sleep(0.001)
    waiting = threading.Thread(target=later, args=("a",))
    waiting.start()
    waiting.join(0.05)
    assert (order, len(world.engines), world.engines[-1].closed) == ([], 1, False)
    first.__exit__(None, None, None)
    for thread in (changing, waiting):
        thread.join(10)
    assert sorted(order) == [("a", {"a": 1.0}), ("b", {"b": 1.0})]
    assert len(world.engines) == 2


def test_many_at_once_are_each_computed_with_their_own():
    world = World(keep=2)
    wrong = []

    def work(seed):
        for step in range(40):
            names = {"abcde"[(seed * step + step) % 5], "abcde"[(seed + step) % 5]} if step % 3 else set()
            if world.use(*map(adapter, sorted(names))) != dict.fromkeys(names, 1.0):
                wrong.append(names)
            if step == 20:
                world.residents.forget({"a"})

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
    assert all(engine.closed for engine in world.engines[:-1])


def test_requests_that_wait_are_loaded_together():
    world = World(keep=4)
    first = world.residents.lease()
    first.__enter__()
    threads = [threading.Thread(target=world.use, args=(adapter(name),)) for name in "abc"]
    threads[0].start()
    while not world.residents._changing:
        time.sleep(0.001)
    for thread in threads[1:]:
        thread.start()
    while len(world.residents._wanted) < 2:
        time.sleep(0.001)
    first.__exit__(None, None, None)
    for thread in threads:
        thread.join(10)
    assert len(world.engines) <= 3  # the first, one without those that came later, one with all
    assert world.holds == ["a", "b", "c"]
