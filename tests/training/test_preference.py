"""Learning from comparisons, many people at once: the weights that a plain DPO loop gives one by one."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from idiolect.backends.transformers import TransformersBackend
from idiolect.errors import InputError
from idiolect.trainable import Example, Job
from idiolect.training import peft_format, unfinished
from idiolect.training.plan import Plan
from idiolect.training.rows import TokenPair, TokenRow
from idiolect.types import Adapter
from tiny import ask
from training.families import write_family
from training.running import RECIPE, Kept, apart, killed, tensors, trained, weights

torch = pytest.importorskip("torch")

PEOPLE = {
    "ana": [("the cat", "is red", "is blue"), ("a dog", "is blue and red", "not"), ("tea", "sings now", "is a red dog"),
            ("ana", "likes tea", "likes the café now and here"), ("bob", "not here", "here")],
    "bob": [("the cat", "is in the café", "is red"), ("a dog", "not here", "is blue and red")],
    "cleo": [("red", "red red red red", "blue"), ("blue", "on and on and", "tea")],
    "dora": [("now", "likes tea", "blue")],
}  # fmt: skip
HELD = (("the dog", "is red", "is blue"), ("tea", "is here", "is on"))
DPO = replace(RECIPE, objective="preference", beta=0.3)
MODPO = replace(DPO, weights=(0.6, 0.3, 0.1))


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def model(request, tmp_path_factory):
    folder = write_family(tmp_path_factory.mktemp(request.param), request.param)
    return TransformersBackend(str(folder), dtype="float32", threads=1, train_users=3)


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    folder = write_family(tmp_path_factory.mktemp("llama"), "llama")
    return TransformersBackend(str(folder), dtype="float32", threads=1, train_users=3)


def pair(asked, better, worse, **more):
    return Example(ask(asked, **more.pop("call", {})), better, rejected=worse, **more)


def job(name, held=(), margins=(), **more):
    return Job(
        name,
        [pair(*one, margins=margins and tuple(m * (n + 1) for m in margins)) for n, one in enumerate(PEOPLE[name])],
        [pair(*one, margins=margins) for one in held],
        **more,
    )


def one_by_one(model, jobs, recipe):
    """Train one person as the paper has it: PEFT's model, its adapter switched off as the reference, autograd."""
    peft = pytest.importorskip("peft")
    import transformers

    engine, functional = model._loaded(), torch.nn.functional
    plain = transformers.AutoModelForCausalLM.from_pretrained(model.model, dtype=torch.float32)
    first = weights(next(model.train([replace(jobs, examples=[], held=[])], recipe)))
    gpt = type(plain).__name__.startswith("GPT2")
    config = peft.LoraConfig(
        r=recipe.rank, lora_alpha=recipe.alpha, target_modules=list(first.modules), lora_dropout=0.0, fan_in_fan_out=gpt
    )
    theirs = peft.get_peft_model(plain, config)
    peft.set_peft_model_state_dict(theirs, {k: torch.from_numpy(v) for k, v in tensors(first).items()})

    def likelihood(example, text):
        prompt = engine.prompt(example.call.messages, example.call)
        ids = torch.tensor([prompt + engine.tokens(text) + [engine.end]])
        rows = functional.log_softmax(theirs(ids).logits[0, len(prompt) - 1 : -1], dim=-1)
        return rows.gather(1, ids[0, len(prompt) :, None]).sum()

    def gain(example):
        return likelihood(example, example.text) - likelihood(example, example.rejected)

    with torch.no_grad(), theirs.disable_adapter():
        reference = [float(gain(example)) for example in jobs.examples]
    plan = Plan(recipe, len(jobs.examples))
    tuned = [p for p in theirs.parameters() if p.requires_grad]
    optimizer, losses = torch.optim.AdamW(tuned, lr=recipe.rate, weight_decay=recipe.decay), []
    for step in range(plan.steps):
        for group in optimizer.param_groups:
            group["lr"] = plan.rate(step)
        batch = plan.batch(step)
        found = []
        for n in batch:
            example = jobs.examples[n]
            margin = sum(w * m for w, m in zip(recipe.weights[1:], example.margins, strict=True))
            z = (recipe.beta * (gain(example) - reference[n]) - margin) / recipe.weights[0]
            found.append(-functional.logsigmoid(z))
        torch.stack(found).mean().backward()
        losses.append(float(torch.stack(found).detach().mean()))
        torch.nn.utils.clip_grad_norm_(tuned, recipe.clip)
        optimizer.step()
        optimizer.zero_grad()
    state = {k: v.detach().numpy() for k, v in peft.get_peft_model_state_dict(theirs).items()}
    return peft_format.read(state, peft_format.config_of(first)), losses


@pytest.mark.parametrize(("recipe", "margins"), [(DPO, ()), (MODPO, (0.4, -0.7))], ids=["dpo", "modpo"])
def test_together_equals_a_plain_loop_one_by_one(model, recipe, margins):
    jobs = {name: job(name, margins=margins) for name in PEOPLE}
    made = trained(model, jobs.values(), recipe)
    for name, asked in jobs.items():
        (expected, losses), found = one_by_one(model, asked, recipe), weights(made[name])
        for module, one in found.modules.items():
            np.testing.assert_allclose(one.a, expected.modules[module].a, atol=1e-5)
            np.testing.assert_allclose(one.b, expected.modules[module].b, atol=1e-5)
        if len(asked.examples) <= recipe.batch:
            np.testing.assert_allclose(made[name].losses, losses, rtol=1e-4)


def test_together_equals_alone_with_held_out_choices_and_early_stopping(model):
    recipe = replace(DPO, patience=1, epochs=6)
    together = trained(model, [job(name, HELD) for name in PEOPLE], recipe)
    for name in PEOPLE:
        alone = trained(model, [job(name, HELD)], recipe)[name]
        assert apart(alone, together[name]) < 1e-5
        assert alone.steps == together[name].steps
        np.testing.assert_allclose(alone.held, together[name].held, rtol=1e-4)
        assert alone.held[0] == pytest.approx(math.log(2), abs=1e-6)


@pytest.mark.parametrize("steps", [1, 5])
def test_killed_and_resumed_gives_the_same_weights(llama, monkeypatch, steps):
    monkeypatch.setattr(unfinished, "SAVE_SECONDS", -1.0)
    jobs, kept = [job(name, HELD[:1]) for name in PEOPLE], Kept()
    whole = trained(llama, jobs, DPO)
    finished = killed(llama, jobs, DPO, kept, steps)
    assert kept.saved
    resumed = trained(llama, [one for one in jobs if one.key not in finished], DPO, checkpoints=kept)
    for name, one in {**finished, **resumed}.items():
        assert apart(one, whole[name]) < 1e-5
        np.testing.assert_allclose(one.losses, whole[name].losses, rtol=1e-4)
        np.testing.assert_allclose(one.held, whole[name].held, rtol=1e-4)


def test_the_trunk_read_once_gives_what_reading_it_each_time_gives(model, monkeypatch):
    recipe = replace(DPO, layers=1)
    once = trained(model, map(job, PEOPLE), recipe)
    from idiolect.training import _torch_trunk

    monkeypatch.setattr(_torch_trunk.Decoder, "splits", lambda *_: False)
    each_time = trained(model, map(job, PEOPLE), recipe)
    for name in PEOPLE:
        assert apart(once[name], each_time[name]) < 1e-5


def preferred(model, name, adapters=()):
    """By how much what somebody chose is likelier than what they did not, the sum over their choices [nats]."""
    calls = [ask(asked, adapters=adapters) for asked, *_ in PEOPLE[name]]
    better, worse = ([one[side] for one in PEOPLE[name]] for side in (1, 2))
    return sum(model.logprobs(calls, better)) - sum(model.logprobs(calls, worse))


def test_what_was_chosen_becomes_likelier_and_the_reference_is_what_lies_under(llama):
    shared = trained(llama, [Job("x", [Example(ask("the cat"), "is red")] * 4)], replace(RECIPE, rate=1e-2))["x"]
    worn = (Adapter("shared", 1.0, shared.body),)
    jobs = [Job("bob", [pair(*one, call={"adapters": worn}) for one in PEOPLE["bob"]])]
    recipe = replace(DPO, rate=1e-2, epochs=10)
    made = trained(llama, jobs, recipe)["bob"]
    first = trained(llama, jobs, replace(recipe, epochs=1))["bob"]
    assert first.losses[0] == pytest.approx(math.log(2), abs=1e-6)
    assert made.losses[-1] < 0.5 * made.losses[0]
    own = Adapter("bob", 1.0, made.body)
    assert preferred(llama, "bob", (*worn, own)) > preferred(llama, "bob", worn) + 2


def test_going_on_from_an_adapter_keeps_the_model_as_the_reference(llama):
    first = trained(llama, [job("ana")], replace(DPO, rate=1e-2, epochs=10))["ana"]
    again = trained(llama, [job("ana", PEOPLE["ana"], start=first.body)], replace(DPO, epochs=1, rate=0.0))["ana"]
    gained = preferred(llama, "ana", (Adapter("ana first", 1.0, first.body),)) - preferred(llama, "ana")
    assert gained > 2
    assert again.held[0] < 0.8 * math.log(2)


def test_margins_trade_the_choices_for_another_objective(llama):
    """Where another objective likes what was rejected better by far, the chosen text is raised the more."""
    recipe = replace(MODPO, weights=(0.5, 0.5), rate=3e-3, epochs=6)
    gained = {}
    for margin in (-2.0, 0.0, 2.0):
        one = trained(llama, [job("bob", margins=(margin,))], recipe)["bob"]
        gained[margin] = preferred(llama, "bob", (Adapter(f"bob {margin}", 1.0, one.body),))
    assert gained[-2.0] < gained[0.0] < gained[2.0]


# -- the loss by itself


def losses_of(*sums, share=1.0, **recipe):
    """The loss of pairs whose answers have these log likelihoods and margins, and its slopes."""
    from idiolect.training._torch_objective import objective_of

    pairs = [TokenPair(TokenRow((1, 2), 1), TokenRow((1, 3), 1), margin, reference) for *_, margin, reference in sums]
    given = torch.tensor([-value for one in sums for value in one[:2]], requires_grad=True)
    total, noted = objective_of(replace(DPO, **recipe)).loss(given, pairs, [share] * len(pairs))
    total.backward()
    return [loss for _, loss, _ in noted], given.grad.numpy()


def test_one_objective_with_all_the_weight_is_dpo():
    sums = [(-3.0, -4.5, 0.0, 0.2), (-7.0, -2.0, 0.0, -1.0)]
    expected = [-math.log(1 / (1 + math.exp(-0.3 * (w - x - r)))) for w, x, _, r in sums]
    np.testing.assert_allclose(losses_of(*sums)[0], expected, atol=1e-6)
    np.testing.assert_allclose(losses_of(*sums, weights=(1.0, 0.0))[0], expected, atol=1e-6)


def test_modpo_is_the_formula_of_the_paper():
    (loss,), _ = losses_of((-3.0, -4.5, 0.4, 0.2), weights=(0.6, 0.4))
    z = (0.3 * (1.5 - 0.2) - 0.4) / 0.6
    assert loss == pytest.approx(-math.log(1 / (1 + math.exp(-z))), abs=1e-6)


@pytest.mark.parametrize("far", [1e4, -1e4])
def test_the_loss_is_stable_far_from_zero(far):
    (loss,), slopes = losses_of((far, 0.0, 0.0, 0.0))
    assert loss == pytest.approx(max(0.0, -0.3 * far), rel=1e-6)
    np.testing.assert_allclose(slopes, [0.3, -0.3] if far < 0 else [0.0, 0.0], atol=1e-6)


def test_what_cannot_be_learnt_is_refused(llama):
    with pytest.raises(InputError, match="no rejected text"):
        trained(llama, [Job("x", [Example(ask("the cat"), "tea")])], DPO)
    with pytest.raises(InputError, match="0 margins"):
        trained(llama, [job("bob")], MODPO)
    with pytest.raises(InputError, match="weights"):
        trained(llama, [job("bob", margins=(1.0,))], replace(DPO, weights=(0.0, 1.0)))
    with pytest.raises(InputError, match="beta"):
        trained(llama, [job("bob")], replace(DPO, beta=0.0))


def test_likelihood_learns_the_chosen_texts_alone(llama):
    texts = [Job("bob", [Example(ask(asked), better) for asked, better, _ in PEOPLE["bob"]])]
    assert apart(trained(llama, [job("bob")])["bob"], trained(llama, texts)["bob"]) == 0
