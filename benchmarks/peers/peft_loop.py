"""One person's adapter after the other by PEFT, as its documentation shows and as well as it allows.

    python benchmarks/peers/peft_loop.py FILE    # FILE is what benchmarks/training.py writes; prints JSON

``documented``: the model is loaded, ``get_peft_model`` puts an adapter on it, a loop of ``loss.backward()`` and
``optimizer.step()`` over batches, and so for the next person. ``tuned``: the model is loaded once, adapters are added
and deleted, logits are made only where something is learnt, padding is to the longest of a batch.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import peft
import torch
import transformers
from safetensors.torch import load_file

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from pieces import peak_mb


def load(given: dict) -> Any:
    return transformers.AutoModelForCausalLM.from_pretrained(given["folder"], dtype=getattr(torch, given["dtype"]))


def config(given: dict) -> peft.LoraConfig:
    modules = given["modules"] or "all-linear"
    return peft.LoraConfig(
        r=given["rank"], lora_alpha=given["alpha"], target_modules=modules, task_type="CAUSAL_LM", lora_dropout=0.0
    )


def batches(rows: list, plan: list) -> Iterator[tuple[Any, Any, Any]]:
    for numbers in plan:
        part = [rows[n] for n in numbers]
        width = max(len(ids) for ids, _ in part)
        ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in part])
        mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in part])
        labels = torch.tensor([[-100] * s + ids[s:] + [-100] * (width - len(ids)) for ids, s in part])
        yield ids, mask, labels


def train(model: Any, rows: list, given: dict, tuned: bool) -> list[float]:
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=given["rate"], weight_decay=0)
    losses = []
    for ids, mask, labels in batches(rows, given["plan"]):
        if tuned:  # logits of the supervised end alone
            keep = ids.shape[1] - int((labels != -100).any(0).nonzero()[0]) + 1
            logits = model(input_ids=ids, attention_mask=mask, use_cache=False, logits_to_keep=keep).logits[:, :-1]
            wanted = labels[:, -keep + 1 :]
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), wanted.flatten())
        else:
            loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    return losses


@torch.no_grad()
def held(model: Any, rows: list, given: dict) -> float:
    total = count = 0.0
    for ids, mask, labels in batches(rows, [[n] for n in range(len(rows))]):
        tokens = int((labels != -100).sum())
        total += float(model(input_ids=ids, attention_mask=mask, labels=labels).loss) * tokens
        count += tokens
    return total / count


def main() -> None:
    given = json.loads(Path(sys.argv[1]).read_text("utf-8"))
    torch.set_num_threads(given["threads"])
    tuned, seconds, last, found = given["how"] == "tuned", [], [], []
    base = load(given) if tuned else None
    model = None
    people = given["people"]
    for n, rows in enumerate([people[0], *people], -1):
        start = time.perf_counter()
        if not tuned:
            model = peft.get_peft_model(load(given), config(given))
        elif model is None:
            model = peft.get_peft_model(base, config(given), adapter_name="one")
        else:
            model.delete_adapter("one")
            model.add_adapter("one", config(given))
            model.set_adapter("one")
        if given["init"]:
            peft.set_peft_model_state_dict(model, load_file(given["init"]), adapter_name=model.active_adapter)
        loss = train(model, rows, given, tuned)[-1]
        if n >= 0:  # the first does not count: what a process does once
            last.append(loss)
            seconds.append(time.perf_counter() - start)
        if 0 <= n < len(given["held"]):
            found.append(held(model, given["held"][n], given))
        if not tuned:
            model = None
            gc.collect()
    print(json.dumps({"seconds": seconds, "losses": last, "held": found, "peak_mb": peak_mb()}))


if __name__ == "__main__":
    main()
