"""mem0 in its own environment on a stream of exchanges: what it keeps, what that costs, what it finds for a question.

    python -m venv VENV && VENV/bin/pip install mem0ai
    VENV/bin/python mem0_run.py exchanges.jsonl --base-url http://127.0.0.1:8484/v1 --model NAME --out kept.jsonl
    VENV/bin/python mem0_run.py locomo10.json --locomo --base-url URL --model NAME --out kept.jsonl

Nothing of ours is imported. Model and embedder are those of one OpenAI-compatible endpoint; ``idiolect serve`` is one:
``backend = "llamacpp"``, ``n_ctx`` 16384 (mem0's own prompt has some 8,000 tokens) and ``slots`` 1, so that the
prompt's constant beginning is read once. A run that was ended goes on where it stopped: the store lies in
``OUT.store``. ``--server-pid`` counts the processor time of a server on this machine, which, other than the wall clock,
tells the same on a busy machine.

mem0 is used as its README shows: ``Memory.add`` with the system prompt, the messages and the answer, ``Memory.search``
with its own defaults. Two things are in its favour: its clock shows the time of the exchange (its own reads today's
date, and takes no other), and its telemetry, which waits for the network, is off.

OUT is JSON lines. The first is the ``run``. ``add``: what changed in the person's memories by one exchange (found by
comparing all of them before and after), the time (``cpu_ms``: of the server's processor), the calls, the tokens
(``read``: those not taken from a cache), the model's own words, and ``fault``, where they were of no use:
``unreadable`` (no JSON), ``cut`` (ended by the limit of tokens), ``shape`` (JSON, but not the list that was asked for),
``part`` (only some entries have a text), ``raised``. ``query``: the memories for a question with their scores.
``all``: a person's memories at the end.
"""

from __future__ import annotations

import argparse
import datetime as dates
import hashlib
import json
import logging
import os
import re
import sys
import time
from collections.abc import Iterator
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

DIMENSIONS = 384  # of MiniLM
PATIENCE_S = 3600.0
"""A local model on a busy machine may need longer than OpenAI's client waits; asking anew would only queue up."""


class Clock(dates.datetime):
    """A datetime whose ``now`` is the time of the exchange."""

    seconds = 0.0

    @classmethod
    def now(cls, tz: dates.tzinfo | None = None) -> dates.datetime:
        return dates.datetime.fromtimestamp(Clock.seconds, tz)


class Counts:
    """What went to the endpoint since the last :meth:`take`."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        self.embedded: list[int] = []

    def answered(self, _llm: object, response: Any, _params: object) -> None:
        self.answers.append(response)

    def watch(self, embedder: Any) -> None:
        one, many = embedder.embed, embedder.embed_batch

        def embed(text: str, *args: Any, **options: Any) -> Any:
            self.embedded.append(1)
            return one(text, *args, **options)

        def embed_batch(texts: list[str], *args: Any, **options: Any) -> Any:
            self.embedded.append(len(texts))
            return many(texts, *args, **options)

        embedder.embed, embedder.embed_batch = embed, embed_batch

    def take(self) -> dict[str, Any]:
        """Return calls and tokens, and begin anew."""
        answers, embedded = self.answers, self.embedded
        self.answers, self.embedded = [], []
        timings = [(answer.model_extra or {}).get("timings") or {} for answer in answers]
        return {
            "calls": len(answers),
            "tokens_in": sum(answer.usage.prompt_tokens for answer in answers),
            "tokens_out": sum(answer.usage.completion_tokens for answer in answers),
            "read": sum(int(timing.get("prompt_n", 0)) for timing in timings),
            "embed_calls": len(embedded),
            "embed_texts": sum(embedded),
            "answer": "\n".join(answer.choices[0].message.content or "" for answer in answers),
            "ended": [answer.choices[0].finish_reason for answer in answers],
        }


def fault_of(answer: str, ended: list[str]) -> str:
    """Return why mem0 cannot use (all of) an answer, "" where it can; it says so itself only in its log."""
    fenced = re.search(r"```(?:json)?\s*(.*?)\s*```", answer, re.DOTALL)
    outer = answer[answer.find("{") : answer.rfind("}") + 1]
    for text in (answer, fenced[1] if fenced else outer):
        try:
            found = json.loads(text, strict=False)
            break
        except json.JSONDecodeError:
            continue
    else:
        return "cut" if "length" in ended else "unreadable"
    entries = found.get("memory") if isinstance(found, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return "shape"
    return "part" if not all(isinstance(e.get("text"), str) and e["text"] for e in entries) else ""


# -- input -----------------------------------------------------------------------------------------------------------


def exchanges(path: Path, system: bool) -> Iterator[dict[str, Any]]:
    """Yield exchanges ``{id, person, time, messages}`` of a file in our form."""
    for line in path.read_text("utf-8").splitlines():
        if not line.strip():
            continue
        row = json.loads(line)
        first = [{"role": "system", "content": row["system"]}] if system and row.get("system") else []
        messages = [*first, *row["messages"], {"role": "assistant", "content": row["answer"]}]
        yield {"id": row["id"], "person": row["person"], "time": seconds(row["time"]), "messages": messages}


def seconds(when: float | str) -> float:
    """Return seconds since the epoch of a number or of an ISO date, UTC."""
    if isinstance(when, int | float):
        return float(when)
    found = dates.datetime.fromisoformat(when.replace("Z", "+00:00"))
    return (found if found.tzinfo else found.replace(tzinfo=dates.UTC)).timestamp()


def locomo(path: Path, turns: int, sessions: int) -> Iterator[dict[str, Any]]:
    """Yield a dialogue's turns, ``turns`` at a time (0: a whole session); speaker b takes the assistant's place.

    ``sessions``: only the first so many, 0 for all.
    """
    for sample in json.loads(path.read_text("utf-8")):
        talk = sample["conversation"]
        numbers = sorted(int(m[1]) for name in talk if (m := re.fullmatch(r"session_(\d+)", name)))
        for number in numbers[: sessions or None]:
            date = dates.datetime.strptime(talk[f"session_{number}_date_time"].strip(), "%I:%M %p on %d %B, %Y")
            said = talk[f"session_{number}"]
            step = turns or len(said) or 1
            for start in range(0, len(said), step):
                messages = [
                    {
                        "role": "user" if turn["speaker"] == talk["speaker_a"] else "assistant",
                        "content": f"{turn['speaker']}: {turn['text']}" + photo(turn),
                    }
                    for turn in said[start : start + step]
                ]
                yield {
                    "id": f"{sample['sample_id']}/{number}/{start}", "person": sample["sample_id"],
                    "time": date.replace(tzinfo=dates.UTC).timestamp() + start, "messages": messages,
                }  # fmt: skip


def photo(turn: dict[str, Any]) -> str:
    return f" [Shared photo: {turn['blip_caption']}]" if turn.get("blip_caption") else ""


def locomo_questions(path: Path) -> list[dict[str, Any]]:
    """Return the questions of categories 1 to 4."""
    return [
        {"id": f"{sample['sample_id']}/q{n}", "person": sample["sample_id"], "question": qa["question"]}
        for sample in json.loads(path.read_text("utf-8"))
        for n, qa in enumerate(sample["qa"])
        if qa["category"] != 5
    ]


# -- mem0 ------------------------------------------------------------------------------------------------------------


def open_mem0(args: argparse.Namespace, store: Path, counts: Counts) -> Any:
    """Open mem0 over a store on disk, its clock in our hands."""
    os.environ.update(MEM0_DIR=str(store / "home"), MEM0_TELEMETRY="False", HF_HUB_OFFLINE="1")
    import mem0.configs.prompts
    import mem0.memory.main
    from mem0 import Memory

    if args.clock == "exchange":
        mem0.configs.prompts.datetime = mem0.memory.main.datetime = Clock
    llm = {"model": args.model, "temperature": args.temperature, "response_callback": counts.answered}
    llm["max_tokens"] = args.max_tokens
    llm |= {"api_key": args.key, "openai_base_url": args.base_url}
    embedder = {"model": args.embedder, "embedding_dims": DIMENSIONS}
    embedder |= {"api_key": args.key, "openai_base_url": args.embed_url or args.base_url}
    vectors = {"path": str(store / "qdrant"), "embedding_model_dims": DIMENSIONS, "on_disk": True}
    memory = Memory.from_config(
        {
            "llm": {"provider": "openai", "config": llm},
            "embedder": {"provider": "openai", "config": embedder},
            "vector_store": {"provider": "qdrant", "config": {"collection_name": "memories", **vectors}},
            "history_db_path": str(store / "history.db"),
        }
    )
    counts.watch(memory.embedding_model)
    memory.llm.client = memory.llm.client.with_options(timeout=PATIENCE_S, max_retries=0)
    return memory


def cpu_seconds(pid: int) -> float:
    """Return the processor time that a process has used (Linux); 0 without one."""
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def texts(memory: Any, person: str) -> dict[str, str]:
    """Return all memories of a person by id."""
    found = memory.get_all(filters={"user_id": person}, top_k=100_000)["results"]
    return {entry["id"]: entry["memory"] for entry in found}


def add(memory: Any, counts: Counts, exchange: dict[str, Any], before: dict[str, str], pid: int) -> dict[str, Any]:
    """Hand one exchange to mem0 and return what came of it; ``before`` becomes what the person has afterwards."""
    person, error = exchange["person"], ""
    Clock.seconds = exchange["time"]
    counts.take()
    start, busy = time.perf_counter(), cpu_seconds(pid)
    try:
        memory.add(exchange["messages"], user_id=person)
    except Exception as raised:  # noqa: BLE001 - whatever mem0 raises is part of the result
        error = f"{type(raised).__name__}: {raised}"
    took, cost = (time.perf_counter() - start) * 1e3, counts.take()
    busy, after = cpu_seconds(pid) - busy, texts(memory, person)
    row = {
        "type": "add", "id": exchange["id"], "person": person, "time": exchange["time"],
        "ms": round(took, 1), "cpu_ms": round(busy * 1e3), **cost,
        "added": [{"id": key, "text": text} for key, text in after.items() if key not in before],
        "changed": [
            {"id": key, "before": before[key], "after": text}
            for key, text in after.items() if before.get(key, text) != text
        ],
        "removed": [{"id": key, "text": text} for key, text in before.items() if key not in after],
        "fault": "raised" if error else fault_of(cost["answer"], cost["ended"]), "error": error,
    }  # fmt: skip
    before.clear()
    before.update(after)
    return row


def ask(memory: Any, counts: Counts, query: dict[str, Any], top_k: int) -> dict[str, Any]:
    """Return the memories for a question, the best first."""
    counts.take()
    start = time.perf_counter()
    found = memory.search(query["question"], top_k=top_k, filters={"user_id": query["person"]})["results"]
    took = (time.perf_counter() - start) * 1e3
    hits = [{"text": hit["memory"], "score": hit["score"], "created_at": hit["created_at"]} for hit in found]
    return {"type": "query", **query, "ms": round(took, 1), "embed_calls": counts.take()["embed_calls"], "found": hits}


def run(args: argparse.Namespace) -> None:
    source = Path(args.input)
    stream = list(locomo(source, args.turns, args.sessions) if args.locomo else exchanges(source, not args.no_system))
    asked = locomo_questions(source) if args.locomo else []
    if args.queries:
        asked = [json.loads(line) for line in Path(args.queries).read_text("utf-8").splitlines() if line.strip()]
    people = list(dict.fromkeys(row["person"] for row in stream))[: args.people or None]
    stream = sorted(
        (row for row in stream if row["person"] in people), key=lambda r: (people.index(r["person"]), r["time"])
    )
    out, counts = Path(args.out), Counts()
    store = out.with_suffix(".store")
    done = [json.loads(line) for line in out.read_text("utf-8").splitlines()] if out.exists() else []
    finished = {(row["type"], row.get("id")) for row in done}
    memory = open_mem0(args, store, counts)
    problems: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: problems.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mem0").addHandler(handler)
    with out.open("a", encoding="utf-8") as file:

        def keep(row: dict[str, Any]) -> None:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
            file.flush()

        if not done:
            digest = hashlib.sha256(source.read_bytes()).hexdigest()
            told = {**vars(args), "input": source.name, "key": "", "people": people}
            keep({"type": "run", "mem0ai": version("mem0ai"), "sha256": digest, **told})
        for person, rows in groupby(stream, key=lambda row: row["person"]):
            own = sorted((q for q in asked if q["person"] == person), key=lambda q: seconds(q.get("time", 1e12)))
            live = texts(memory, person)
            for row in rows:
                while own and seconds(own[0].get("time", 1e12)) < row["time"]:
                    answer(memory, counts, own.pop(0), args, finished, keep)
                if ("add", row["id"]) in finished:
                    continue
                problems.clear()
                told = add(memory, counts, row, live, args.server_pid)
                keep({**told, "logged": list(problems)})
                print(f"{row['id']}: {told['ms'] / 1e3:.1f} s, +{len(told['added'])} {told['fault']}", file=sys.stderr)
            for query in own:
                answer(memory, counts, query, args, finished, keep)
            if ("all", person) not in finished:
                keep({"type": "all", "id": person, "person": person, "memories": list(live.values())})
    memory.close()


def answer(memory: Any, counts: Counts, query: dict[str, Any], args: Any, finished: set[Any], keep: Any) -> None:
    if ("query", query["id"]) not in finished:
        keep(ask(memory, counts, query, args.top_k))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("input")
    parser.add_argument("--out", required=True)
    parser.add_argument("--base-url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--embed-url", default="", help="another endpoint for the embeddings")
    parser.add_argument("--embedder", default="minilm", help="model name of the endpoint's embeddings")
    parser.add_argument("--key", default="unused")
    parser.add_argument("--locomo", action="store_true", help="the input is locomo10.json")
    parser.add_argument("--turns", type=int, default=2, help="LoCoMo: turns in one add, 0 for a whole session")
    parser.add_argument("--sessions", type=int, default=0, help="LoCoMo: only the first so many of each dialogue")
    parser.add_argument("--queries", default="", help="JSON lines {id, person, question, time}: asked at that time")
    parser.add_argument("--people", type=int, default=0, help="only the first so many")
    parser.add_argument("--clock", choices=("exchange", "today"), default="exchange", help="what mem0 takes for today")
    parser.add_argument("--server-pid", type=int, default=0, help="count this process's processor time")
    parser.add_argument("--no-system", action="store_true", help="do not hand it the system prompt")
    parser.add_argument("--temperature", type=float, default=0.0)
    parser.add_argument("--max-tokens", type=int, default=2000, help="mem0's own limit; a model that loops reaches it")
    parser.add_argument("--top-k", type=int, default=20)
    run(parser.parse_args())


if __name__ == "__main__":
    main()
