"""Random adapters, and what a model says whose weights they were added to: one row, no padding, no cache."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path

import numpy as np

from idiolect.training import peft_format
from idiolect.training.factors import Factors, LowRank
from idiolect.training.modules import sites
from idiolect.types import Adapter, Body, Call
from tiny import WORDS, write_model


def some(n, *shape, scale=1.0):
    return np.random.default_rng(n).normal(scale=scale, size=shape).astype(np.float32)


def write_gpt2(path: Path) -> Path:
    import torch
    import transformers

    write_model(path)
    torch.manual_seed(1)
    config = transformers.GPT2Config(
        vocab_size=len(WORDS), n_embd=32, n_layer=2, n_head=4, n_positions=64, eos_token_id=0, bos_token_id=None,
        initializer_range=0.4,
    )  # fmt: skip
    transformers.GPT2LMHeadModel(config).save_pretrained(path)
    return path


def modules(model, *last_names):
    engine = model._loaded()
    found = sites(engine.model, engine.layers)
    return {name: site for name, site in found.items() if not last_names or site.last_name in last_names}


def change(n, found, rank=8, scaling=2.0, bias=False, base_model="", size=0.4):
    """A random change of these sites; ``rank`` may be a list, from which the modules take theirs in turn."""
    ranks = rank if isinstance(rank, list) else [rank]
    factors = {}
    for at, (name, site) in enumerate(found.items()):
        r = ranks[at % len(ranks)]
        a = some(1000 * n + at, r, site.inputs, scale=size / r**0.5)
        b = some(2000 * n + at, site.outputs, r, scale=size / site.outputs**0.5)
        factors[name] = Factors(a, b, some(3000 * n + at, site.outputs, scale=size / 2) if bias else None)
    return LowRank(factors, scaling, base_model)


def worn(name, change, weight=1.0):
    return Adapter(name, weight, Body.of(peft_format.dump(change)))


@contextmanager
def merged(engine, call):
    """The model with ``W + sum weight scaling B A`` for the adapters of a call."""
    before = {name: weight.clone() for name, weight in engine.model.state_dict().items()}
    found = sites(engine.model, engine.layers)
    biases = []
    for one in call.adapters:
        low = peft_format.load(one.body.read())
        for name, factors in low.modules.items():
            site = found[name]
            delta = engine.torch.from_numpy(one.weight * low.delta(name))
            site.module.weight += delta.T if site.transposed else delta
            if factors.bias is not None:
                shift = engine.torch.from_numpy(one.weight * low.scaling * factors.bias)
                biases.append(site.module.register_forward_hook(lambda m, i, out, shift=shift: out + shift))
    try:
        yield
    finally:
        engine.model.load_state_dict(before)
        for handle in biases:
            handle.remove()


def plain_logits(model, call: Call, ids):
    """``[tokens + 1, vocab]``: what follows the call's own prompt and each of the ids."""
    engine = model._loaded()
    torch, prompt = engine.torch, engine.prompt(call.messages, call)
    with torch.no_grad(), merged(engine, call):
        embedded = engine.model.get_input_embeddings()(torch.tensor([prompt + list(ids)]))
        soft = np.zeros((0, engine.hidden), np.float32) if call.soft_prompt is None else call.soft_prompt
        embedded = torch.cat([torch.from_numpy(soft)[None], embedded], dim=1)
        start = len(soft) + len(prompt)
        handles = []
        for steer in call.steering:

            def hook(module, inputs, output, steer=steer):
                first = (output[0] if isinstance(output, tuple) else output).clone()
                first[:, start:] += steer.strength * torch.from_numpy(steer.vector)
                return (first, *output[1:]) if isinstance(output, tuple) else first

            handles.append(engine.layers[steer.layer].register_forward_hook(hook))
        try:
            return engine.model(inputs_embeds=embedded).logits[0, start - 1 :].double().numpy()
        finally:
            for handle in handles:
                handle.remove()


def log_softmax(logits):
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def plain_logprobs(model, call, text):
    ids = model._loaded().tokens(text)
    rows = log_softmax(plain_logits(model, call, ids))
    return np.array([rows[n, token] for n, token in enumerate(ids)])


def plain_answer(model, call):
    engine, ids = model._loaded(), []
    for _ in range(call.sampling.max_tokens):
        token = int(np.argmax(plain_logits(model, call, ids)[-1]))
        if token in engine.ends:
            break
        ids.append(token)
    return engine.tokenizer.decode(ids, skip_special_tokens=True)
