"""Training many people's adapters at once: the weights that PEFT gives one by one, and nothing of anybody else."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from idiolect.backends.transformers import TransformersBackend
from idiolect.errors import InputError
from idiolect.trainable import Example, Job
from idiolect.training import peft_format, unfinished
from idiolect.training.plan import Plan
from idiolect.types import Adapter, Body
from tiny import ask
from training.families import write_family
from training.running import RECIPE, Kept, apart, killed, tensors, trained, weights

torch = pytest.importorskip("torch")

PEOPLE = {
    "ana": [("the cat", "is red"), ("a dog", "is blue and red"), ("tea", "sings now"), ("ana", "likes tea"),
            ("bob likes the red dog", "not here")],
    "bob": [("the cat", "is in the café"), ("a dog", "not here")],
    "cleo": [("red", "red red red red"), ("blue", "on and on and"), ("bob", "likes ana"), ("a cat", "dog")],
    "dora": [("now", "here")],
}  # fmt: skip


@pytest.fixture(scope="module", params=["llama", "qwen3", "gemma2", "gpt2"])
def model(request, tmp_path_factory):
    folder = write_family(tmp_path_factory.mktemp(request.param), request.param)
    return TransformersBackend(str(folder), dtype="float32", threads=1, train_users=3)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = write_family(tmp_path_factory.mktemp("llama"), "llama")
    return TransformersBackend(str(folder), dtype="float32", threads=1, train_users=3)


def job(name, held=(), **more):
    return Job(name, [Example(ask(q), t) for q, t in PEOPLE[name]], [Example(ask(q), t) for q, t in held], **more)


def by_peft(model, name, recipe, only=None):
    """Train one person as PEFT's documentation shows: an adapter on the model, a loop, no other people."""
    peft = pytest.importorskip("peft")
    import transformers

    engine = model._loaded()
    plain = transformers.AutoModelForCausalLM.from_pretrained(model.model, dtype=torch.float32)
    first = weights(next(model.train([replace(job(name), examples=[])], recipe)))
    gpt = type(plain).__name__.startswith("GPT2")
    config = peft.LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(first.modules), lora_dropout=0.0, fan_in_fan_out=gpt
    )
    theirs = peft.get_peft_model(plain, config)
    state = {k: torch.from_numpy(v) for k, v in tensors(first).items()}
    peft.set_peft_model_state_dict(theirs, state)
    rows = []
    for example in job(name).examples:
        prompt = engine.prompt(example.call.messages, example.call)
        ids = prompt + engine.tokens(example.text) + [engine.end]
        rows.append((ids, [-100] * len(prompt) + ids[len(prompt) :]))
    plan = Plan(recipe, len(rows))
    tuned = [p for p in theirs.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(tuned, lr=recipe.rate, weight_decay=recipe.decay)
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        batch = [rows[n] for n in plan.batch(step)]
        count = sum(sum(label != -100 for label in labels) for _, labels in batch)
        for ids, labels in batch:
            loss = theirs(torch.tensor([ids]), labels=torch.tensor([labels])).loss
            (loss * sum(label != -100 for label in labels) / count).backward()
        torch.nn.utils.clip_grad_norm_(tuned, recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
    found = {k: v.detach().numpy() for k, v in peft.get_peft_model_state_dict(theirs).items()}
    return peft_format.read(found, peft_format.config_of(first))


def test_together_equals_peft_one_by_one(model):
    made = trained(model, map(job, PEOPLE))
    for name in PEOPLE:
        expected, found = by_peft(model, name, RECIPE), weights(made[name])
        for module, one in found.modules.items():
            np.testing.assert_allclose(one.a, expected.modules[module].a, atol=1e-5)
            np.testing.assert_allclose(one.b, expected.modules[module].b, atol=1e-5)


def test_together_equals_alone_with_held_out_records_and_early_stopping(model):
    recipe, held = replace(RECIPE, patience=1, epochs=6), (("the dog", "is red"), ("tea", "is here"))
    together = trained(model, [job(name, held) for name in PEOPLE], recipe)
    for name in PEOPLE:
        alone = trained(model, [job(name, held)], recipe)[name]
        assert apart(alone, together[name]) < 1e-5
        assert alone.steps == together[name].steps
        np.testing.assert_allclose(alone.held, together[name].held, rtol=1e-4)


def test_it_ends_once_held_out_records_are_served_worse(llama):
    recipe = replace(RECIPE, patience=1, epochs=30, rate=3e-2)
    one = trained(llama, [job("ana", (("the dog", "blue"), ("tea", "is here")))], recipe)["ana"]
    assert one.steps < Plan(recipe, len(PEOPLE["ana"])).steps
    assert one.held[-1] > min(one.held)
    best = replace(recipe, epochs=one.held.index(min(one.held)), schedule="constant", patience=0)
    assert best.epochs < len(one.losses)


def test_the_trunk_read_once_gives_what_reading_it_each_time_gives(model, monkeypatch):
    recipe = replace(RECIPE, layers=1)
    once = trained(model, map(job, PEOPLE), recipe)
    assert all(".1." in name for name in weights(once["ana"]).modules)
    from idiolect.training import _torch_trunk

    monkeypatch.setattr(_torch_trunk.Decoder, "splits", lambda *_: False)
    each_time = trained(model, map(job, PEOPLE), recipe)
    for name in PEOPLE:
        assert apart(once[name], each_time[name]) < 1e-5


def test_the_trunk_is_read_once(llama, monkeypatch):
    from idiolect.training import _torch_trunk

    read = []
    lower = _torch_trunk.Decoder.lower
    monkeypatch.setattr(
        _torch_trunk.Decoder, "lower", lambda self, given: read.append(len(given["input_ids"])) or lower(self, given)
    )
    monkeypatch.setattr(_torch_trunk.Decoder, "splits", lambda *_: True)
    trained(llama, map(job, PEOPLE), replace(RECIPE, layers=1, epochs=4))
    assert sum(read) == sum(map(len, PEOPLE.values()))


def test_training_starts_from_the_model_as_it_is_and_learns(llama):
    held = PEOPLE["ana"]
    one = trained(llama, [job("ana", held)], replace(RECIPE, epochs=10, rate=3e-2))["ana"]
    calls, texts = [ask(q) for q, _ in held], [t for _, t in held]
    engine = llama._loaded()
    ended = [f"{text} <end>" for text in texts]
    bare = -sum(llama.logprobs(calls, ended)) / sum(len(engine.tokens(text)) for text in ended)
    assert one.held[0] == pytest.approx(bare, abs=1e-4)
    assert min(one.held) < 0.3 * one.held[0]
    assert one.losses[-1] < 0.3 * one.losses[0]


def canary(model, adapters, name):
    """Log probability of what a person gave, under some adapters."""
    texts = PEOPLE[name]
    calls = [ask(q, adapters=adapters) for q, _ in texts]
    return sum(model.logprobs(calls, [t for _, t in texts]))


LEARNING = replace(RECIPE, epochs=10, rate=1e-2)
SECRETS = {"one": ("bob sings", "red tea café ana"), "two": ("the cat sings", "blue dog on on")}


def leak(model):
    """How much likelier another person's secret is under each one's adapter than without, the largest [nats]."""
    secret = [Job(name, [Example(ask(q), text)] * 4) for name, (q, text) in SECRETS.items()]
    made = trained(model, secret, LEARNING)
    gains = []
    for name, one in made.items():
        q, text = next(value for other, value in SECRETS.items() if other != name)
        own_q, own = SECRETS[name]
        worn = (Adapter(name, 1.0, one.body),)
        assert model.logprobs([ask(own_q, adapters=worn)], [own])[0] > model.logprobs([ask(own_q)], [own])[0] + 5
        gains.append(model.logprobs([ask(q, adapters=worn)], [text])[0] - model.logprobs([ask(q)], [text])[0])
    return max(gains)


def test_nobodys_secret_is_likelier_under_anothers_adapter_than_under_one_trained_alone(llama):
    together = leak(llama)
    alone = []
    for name in SECRETS:
        other = next(n for n in SECRETS if n != name)
        q, text = SECRETS[name]
        only = [Job(other, [Example(ask(SECRETS[other][0]), SECRETS[other][1])] * 4)]
        one = trained(llama, only, LEARNING)[other]
        worn = (Adapter(f"{other} alone", 1.0, one.body),)
        alone.append(llama.logprobs([ask(q, adapters=worn)], [text])[0] - llama.logprobs([ask(q)], [text])[0])
    assert together == pytest.approx(max(alone), abs=0.05)


def worst(model, jobs):
    """The largest difference between adapters trained in one run and alone."""
    together = trained(model, jobs)
    return max(apart(trained(model, [one])[one.key], together[one.key]) for one in jobs)


def test_mutations_are_seen(llama, monkeypatch):
    """Leaving out the reset of a place, or mixing two rows' people, makes the tests above fail."""
    from idiolect.training import _torch_lowrank, _torch_stack

    jobs = list(map(job, PEOPLE))
    assert worst(llama, jobs) < 1e-5
    reset = _torch_stack.Stack.reset
    seen = set()

    def forgetful(self, place, *args):
        if place not in seen:
            reset(self, place, *args)
        seen.add(place)

    with monkeypatch.context() as patch:
        patch.setattr(_torch_stack.Stack, "reset", forgetful)
        together = trained(llama, jobs)
    assert max(apart(trained(llama, [one])[one.key], together[one.key]) for one in jobs) > 1e-4
    with monkeypatch.context() as patch:
        patch.setattr(_torch_lowrank.Batch, "groups", property(lambda self: self.places[1:] + self.places[:1]))
        mixed = trained(llama, jobs)
    assert max(apart(trained(llama, [one])[one.key], mixed[one.key]) for one in jobs) > 1e-4


@pytest.mark.parametrize("steps", [1, 3, 5, 7])
def test_killed_and_resumed_gives_the_same_weights(llama, monkeypatch, steps):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    held = (("the dog", "is red"),)
    recipe, jobs = replace(RECIPE, proximal=0.1), [job(name, held) for name in PEOPLE]
    whole, kept = trained(llama, jobs, recipe), Kept()
    finished = killed(llama, jobs, recipe, kept, steps)
    assert kept.saved
    drawn = []
    resumed = trained(
        llama, [one for one in jobs if one.key not in finished], recipe, progress=drawn.append, checkpoints=kept
    )
    assert sum(drawn) < 3 * sum(len(PEOPLE[name]) for name in PEOPLE if name not in finished)
    assert not kept.saved
    for name, one in {**finished, **resumed}.items():
        assert apart(one, whole[name]) < 1e-5
        assert one.steps == whole[name].steps
        np.testing.assert_allclose(one.losses, whole[name].losses, rtol=1e-4)
        np.testing.assert_allclose(one.held, whole[name].held, rtol=1e-4)


def test_what_was_saved_of_other_examples_or_settings_is_not_gone_on_with(llama, monkeypatch):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    kept = Kept()
    killed(llama, [job("ana")], RECIPE, kept, 3)
    other = replace(RECIPE, rate=5e-3)
    assert (
        apart(trained(llama, [job("ana")], other, checkpoints=kept)["ana"], trained(llama, [job("ana")], other)["ana"])
        == 0
    )


def test_people_are_drawn_as_places_become_free(llama):
    drawn, finished = [], 0

    def jobs():
        for n in range(12):
            drawn.append(n)
            assert len(drawn) <= finished + 3 + 1  # those in training, and the first that was looked at
            yield replace(job("dora"), key=str(n))

    for _ in llama.train(jobs(), RECIPE):
        finished += 1
    assert finished == 12


def test_going_on_from_an_adapter_begins_where_it_ended(llama):
    first = trained(llama, [job("ana")])["ana"]
    again = trained(llama, [job("ana", PEOPLE["ana"], start=first.body)], replace(RECIPE, epochs=1, rate=0.0))["ana"]
    assert apart(first, again) < 1e-6
    wider = trained(llama, [job("ana", start=first.body)], replace(RECIPE, rank=6, alpha=3, epochs=1, rate=0.0))["ana"]
    for name in weights(first).modules:
        np.testing.assert_allclose(weights(wider).delta(name), weights(first).delta(name), atol=1e-6)


def test_a_proximal_term_holds_it_back(llama):
    first = trained(llama, [job("ana")])["ana"]
    free = trained(llama, [job("cleo", start=first.body)], LEARNING)["cleo"]
    held = trained(llama, [job("cleo", start=first.body)], replace(LEARNING, proximal=100.0))["cleo"]
    assert apart(held, first) < 0.3 * apart(free, first)


def test_adapters_under_the_trained_one_stay_and_count(llama):
    shared = trained(llama, [job("ana")])["ana"]
    worn = (Adapter("shared", 1.0, shared.body),)
    jobs = [Job("bob", [Example(ask(q, adapters=worn), t) for q, t in PEOPLE["bob"]])]
    made = trained(llama, jobs, LEARNING)["bob"]
    own = canary(llama, (*worn, Adapter("bob", 1.0, made.body)), "bob")
    assert own > canary(llama, worn, "bob") + 1
    assert made.losses[0] != pytest.approx(trained(llama, [job("bob")])["bob"].losses[0], abs=1e-3)


@pytest.mark.parametrize("rank", [1, 64])
def test_any_rank_and_any_modules(llama, rank):
    one = trained(llama, [job("ana")], replace(RECIPE, rank=rank, modules=("q_proj", "down_proj")))["ana"]
    assert {name.rpartition(".")[2] for name in weights(one).modules} == {"q_proj", "down_proj"}
    assert weights(one).rank == rank
    with pytest.raises(InputError, match="no linear module 'q'"):
        trained(llama, [job("ana")], replace(RECIPE, modules=("q",)))


def test_bfloat16_learns_with_factors_in_full_precision(tmp_path):
    model = TransformersBackend(str(write_family(tmp_path, "llama")), dtype="bfloat16", threads=1)
    one = trained(model, [job("ana")], LEARNING)["ana"]
    assert one.losses[-1] < 0.5 * one.losses[0]
    assert weights(one).modules["model.layers.0.self_attn.q_proj"].a.dtype == np.float32


def test_answers_beside_a_training_do_not_see_it(llama):
    expected, found = llama.logprobs([ask("the cat")], ["is red"]), []
    with ThreadPoolExecutor(1) as pool:

        def check():
            found.append(pool.submit(llama.logprobs, [ask("the cat")], ["is red"]).result())

        trained(llama, map(job, PEOPLE), check=check)
    assert len(found) > 3
    assert all(one == expected for one in found)


def test_what_cannot_be_learnt_is_refused(llama):
    with pytest.raises(InputError, match="no text"):
        trained(llama, [Job("x", [Example(ask("the cat"), "", ends=False)])])
    worn = (Adapter("a", 1.0, trained(llama, [job("bob")])["bob"].body),)
    with pytest.raises(InputError, match="same adapters"):
        trained(llama, [Job("x", [Example(ask("the cat", adapters=worn), "tea"), Example(ask("the cat"), "tea")])])
    read = weights(trained(llama, [job("bob")])["bob"])
    foreign = (Adapter("a", 1.0, Body.of(peft_format.dump(replace(read, base_model="other@1")))),)
    with pytest.raises(InputError, match="other@1"):
        trained(llama, [Job("x", [Example(ask("the cat", adapters=foreign), "tea")])])


def test_a_person_without_examples_gets_no_change(llama):
    one = trained(llama, [Job("x", [])])["x"]
    assert one.losses == ()
    assert all(not factors.b.any() for factors in weights(one).modules.values())


def test_the_plan_shows_every_example_once_a_pass_and_falls_to_nothing():
    plan = Plan(replace(RECIPE, batch=3, epochs=4, warmup=0.25, schedule="cosine"), 10)
    for epoch in range(4):
        shown = [n for step in range(4) for n in plan.batch(4 * epoch + step)]
        assert sorted(shown) == list(range(10))
    rates = [plan.rate(step) for step in range(plan.steps)]
    assert rates[3] == pytest.approx(RECIPE.rate)
    assert rates[:4] == sorted(rates[:4])
    assert rates[-1] < 0.05 * RECIPE.rate
    assert math.isclose(Plan(replace(RECIPE, schedule="constant", warmup=0.0), 4).rate(5), RECIPE.rate)
