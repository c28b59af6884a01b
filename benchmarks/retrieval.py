"""How fast one person's records are found and kept: this package, mem0, LangGraph's stores and plain numpy, in one run.

    python benchmarks/retrieval.py                                        # a few minutes, without peers
    python benchmarks/retrieval.py --peers-python VENV/bin/python --json benchmarks/results/retrieval.json
    python benchmarks/retrieval.py --levels 1x1000 1000x100               # some levels only
    python benchmarks/retrieval.py --levels 1x1000+999999                 # a million people in the same store

Everyone gets the same texts and the same vectors (``corpus.py``); query vectors are given, so no figure contains the
embedding model, whose time is reported apart. A level ``UxN+O`` is U measured people with N records each among O others
with one or two. Every stage runs in a fresh process. Percentiles are medians over rounds: the machine may be shared.

search: a fresh view of the person, the 10 best records decrypted, ``hybrid`` by default.
hit, miss: the person was asked about before in this process, or never (key, index and pages are read anew).
plan: the whole personalization of a request with the ``retrieval`` method alone, 600 tokens, toy tokenizer.
adds: one record a call, durable (fsync) when it returns, with its vector; import: batches of 2,000.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests")]

import numpy as np  # noqa: E402 - after the thread count is set
import numpy.typing as npt  # noqa: E402

import corpus  # noqa: E402
import idiolect  # noqa: E402
from idiolect.backends.toy import ToyBackend  # noqa: E402
from idiolect.config import Settings  # noqa: E402
from idiolect.pipeline import Idiolect  # noqa: E402
from idiolect.store.keys import MasterKey  # noqa: E402
from idiolect.store.search import DENSE, HYBRID, LEXICAL, Ranker  # noqa: E402
from idiolect.store.store import Store  # noqa: E402
from idiolect.store.view import StoredUser  # noqa: E402
from idiolect.types import Call, Record  # noqa: E402

K, QUESTIONS, BUDGET = 10, 200, 600
START = 1_700_000_000.0
SESSION = 20  # records
LEVELS = ("1x100", "1x1000", "1x10000", "1x100000", "1000x100", "1x1000+99", "1x1000+9999")
QUICK = ("1x100", "1x1000", "50x20")
PEERS = {
    "mem0 (default: Qdrant local)": ("mem0_store.py", "qdrant"),
    "mem0 (faiss)": ("mem0_store.py", "faiss"),
    "LangGraph InMemoryStore": ("langgraph_store.py", "memory"),
    "LangGraph SqliteStore": ("langgraph_store.py", "sqlite"),
}
Stats = dict[str, Any]
Times = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    users: int
    records: int
    others: int = 0

    @staticmethod
    def parse(name: str) -> Level:
        match = re.fullmatch(r"(\d+)x(\d+)(?:\+(\d+))?", name)
        if not match:
            sys.exit(f"level {name!r} is not USERSxRECORDS or USERSxRECORDS+OTHERS, for example 1x1000+9999")
        return Level(*(int(part or 0) for part in match.groups()))

    @property
    def measured(self) -> int:
        """Records of the measured people."""
        return self.users * self.records

    def rows(self) -> Iterator[tuple[str, int]]:
        """Yield (user, number of the text); measured people's records come mixed, as they would over time."""
        yield from ((f"u{n % self.users}", n) for n in range(self.measured))
        number = self.measured
        for other in range(self.others):
            for _ in range(1 + other % 2):
                yield f"o{other}", number
                number += 1


@dataclass(frozen=True)
class Job:
    """What a stage in a fresh process needs."""

    level: Level
    folder: Path
    cache: Path
    rounds: int
    queries: int

    def corpus(self) -> corpus.Corpus:
        return corpus.load(self.cache, QUESTIONS)

    def open(self, **kwargs: Any) -> Store:
        master = MasterKey(f"file:{self.folder}/keys/master.key")
        embedder = corpus.TableEmbedder(self.corpus())
        return Store.open(self.folder / "data", self.folder / "keys", master, embedder, **kwargs)


def record(user: str, number: int) -> Record:
    meta = {"session": f"s{number // SESSION}", "speaker": ("Ines", "Tom")[number % 2]}
    return Record.new(
        user,
        corpus.text(number),
        time=START + 900.0 * number,
        kind="dialogue",
        source="bench",
        key=str(number),
        meta=meta,
    )


# -- what is measured ------------------------------------------------------------------------------------------


def timed(work: Callable[[int], object], count: int) -> Times:
    """Return wall and processor time of each call [ms], ``[count, 2]``."""
    out = np.empty((count, 2))
    for n in range(count):
        start, busy = time.perf_counter(), time.thread_time()
        work(n)
        out[n] = time.perf_counter() - start, time.thread_time() - busy
    return out * 1e3


def spread(rounds: Sequence[Times]) -> Stats:
    """Return percentiles [ms], each the median over rounds; ``cpu`` is what a machine with nothing else to do shows."""
    out = {}
    for column, prefix in enumerate(("", "cpu_")):
        for q in (50, 95, 99):
            out[f"{prefix}p{q}"] = round(float(np.median([np.percentile(r[:, column], q) for r in rounds])), 4)
    return out


def rss_mb(field: str = "VmRSS") -> float:
    """Memory of this process now, or its peak (``VmHWM``)."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith(field))


def build(job: Job) -> Stats:
    """Fill the store with vectors, through the ordinary ``add``."""
    store, start = job.open(), time.perf_counter()
    store.add(record(user, number) for user, number in job.level.rows())
    seconds = time.perf_counter() - start
    store.close()
    count = job.level.measured + job.level.others + job.level.others // 2
    disk = sum(path.stat().st_size for path in job.folder.rglob("*") if path.is_file())
    return {
        "records": count, "seconds": round(seconds, 2), "records_per_s": round(count / seconds),
        "disk_bytes_per_record": round(disk / count), "peak_rss_mb": round(rss_mb("VmHWM")),
    }  # fmt: skip


def cold(job: Job) -> Stats:
    """The first and the second search of a fresh process (its imports are done, its files are in the page cache)."""
    data = job.corpus()
    start = time.perf_counter()
    store = job.open()
    opened = time.perf_counter()
    times = timed(lambda n: find(store, data, "u0", n), 2)
    return {
        "open_ms": round((opened - start) * 1e3, 2),
        "first_ms": round(times[0, 0], 2),
        "second_ms": round(times[1, 0], 2),
    }


def find(store: Store, data: corpus.Corpus, user: str, number: int, ranker: Ranker | None = None) -> None:
    text = corpus.query(number % QUESTIONS)
    view = StoredUser(store, user, vectors={text: data.asked[number % QUESTIONS]})
    assert view.search(text, K, ranker=ranker), f"nothing found for {user}"


def search(job: Job) -> Stats:
    """Search and plan times of people whose index is held, and of people never seen in this process."""
    data, rng = job.corpus(), random.Random(1)
    before = rss_mb()
    store = job.open()
    out: Stats = {}
    users = [f"u{rng.randrange(job.level.users)}" for _ in range(job.queries * job.rounds)]
    for user in dict.fromkeys(users):
        find(store, data, user, 0)

    def rounds(work: Callable[[str, int], object]) -> Stats:
        names = iter(users)
        work(users[0], 0)
        return spread([timed(lambda n: work(next(names), n), job.queries) for _ in range(job.rounds)])

    for name, ranker in {"hybrid": HYBRID, "dense": DENSE, "lexical": LEXICAL}.items():
        out[name] = rounds(lambda user, n, ranker=ranker: find(store, data, user, n, ranker))  # type: ignore[misc]
    out["plan"] = rounds(planner(store))
    out["rss_mb"] = round(rss_mb() - before)
    store.close()
    out["miss"] = misses(job, data, [f"u{n}" for n in range(job.level.users)])
    if job.level.others:
        names = [f"o{n}" for n in random.Random(2).sample(range(job.level.others), min(100, job.level.others))]
        out["others_miss"] = misses(job, data, names)
    if job.level.users > 1:
        out["mixed"] = mixed(job, data)
    return out


def find_of(store: Store, data: corpus.Corpus, users: Sequence[str], number: int) -> None:
    find(store, data, users[number], number)


def planner(store: Store) -> Callable[[str, int], object]:
    app = Idiolect(store, ToyBackend(), Settings(backend="toy", methods=("retrieval",)), backend_name="toy")

    def work(user: str, number: int) -> object:
        call = Call(({"role": "user", "content": corpus.query(number % QUESTIONS)},))
        return app.plan(call, user, tokens=BUDGET)

    return work


def misses(job: Job, data: corpus.Corpus, names: Sequence[str]) -> Stats:
    """First visits of people in a process that has its database open."""
    rounds = []
    for _ in range(job.rounds):
        store = job.open()
        store.newest("o0" if job.level.others else "nobody")
        rounds.append(timed(partial(find_of, store, data, names), min(len(names), job.queries)))
        store.close()
    return spread(rounds)


def mixed(job: Job, data: corpus.Corpus) -> Stats:
    """People picked at random, from a fresh opening on: first visits and returns as they come."""
    rng, rounds = random.Random(3), []
    for _ in range(job.rounds):
        store = job.open()
        users = [f"u{rng.randrange(job.level.users)}" for _ in range(5 * job.queries)]
        find(store, data, users[0], 0)
        rounds.append(timed(partial(find_of, store, data, users), len(users)))
        store.close()
    return spread(rounds)


def after_add(job: Job) -> Stats:
    """Searches that each come after one more record of the same person."""
    data, store = job.corpus(), job.open()
    find(store, data, "u0", 0)
    first = job.level.measured + 2 * job.level.others
    times = np.empty((job.queries, 2))
    for n in range(job.queries):
        store.add([record("u0", first + n)])
        times[n] = timed(lambda _, n=n: find(store, data, "u0", n), 1)[0]  # type: ignore[misc]
    return spread([times])


def exact(job: Job) -> Stats:
    """Dense search against brute force in float32 kept in RAM, the default against loops over the formulas."""
    from plain import plain_search

    data, store, level = job.corpus(), job.open(), job.level
    numbers = list(range(0, level.measured, level.users))  # u0's
    table = data.vectors(numbers)
    recall = []
    for n in range(job.queries):
        text = corpus.query(n % QUESTIONS)
        cosine = table @ data.asked[n % QUESTIONS]
        k = min(K, len(cosine))
        kth = np.partition(cosine, len(cosine) - k)[len(cosine) - k]
        hits = StoredUser(store, "u0").search(text, K, ranker=DENSE)
        at = [numbers.index(int(corpus.number_of(hit.record.output))) for hit in hits]
        recall.append(np.mean(cosine[at] >= kth - 1e-6) * len(at) / k)  # 1e-6: what float32 itself leaves open
    records = [record("u0", n) for n in numbers]
    same = []
    for n in range(max(2, min(20, 20_000 // len(records)))):
        text = corpus.query(n)
        _, scores = plain_search(records, text, store.embedder, HYBRID, K)
        hits = StoredUser(store, "u0").search(text, K)
        same.append(np.allclose([hit.score for hit in hits], scores, rtol=2e-4, atol=2e-4))
    return {"dense_recall_at_10": round(float(np.mean(recall)), 6), "hybrid_equals_plain": f"{sum(same)}/{len(same)}"}


def floor(job: Job) -> Stats:
    """One float32 matrix in RAM: product and partition, nothing else."""
    data, level = job.corpus(), job.level
    before = rss_mb()
    table = data.vectors(range(level.records))
    used = rss_mb() - before

    def work(n: int) -> object:
        cosine = table @ data.asked[n % QUESTIONS]
        k = min(K, len(cosine) - 1)
        best = np.argpartition(cosine, -k)[-k:]
        return best[np.argsort(-cosine[best])]

    work(0)
    return {"search": spread([timed(work, job.queries) for _ in range(job.rounds)]), "rss_mb": round(used)}


def writes(job: Job) -> Stats:
    """Durable adds and imports of one person's records, beside what this disk needs for one fsync."""
    out: Stats = {"fsync_ms": spread([fsyncs(job.folder, job.queries)])}
    for name, embed in (("add", False), ("add_with_vector", True)):
        rounds = [adds(job, name, job.queries * r, embed) for r in range(job.rounds)]
        per_s = float(np.median([1e3 * len(times) / times[:, 0].sum() for times in rounds]))
        out[name] = {**spread(rounds), "per_s": round(per_s), "fsync_ms": spread([fsyncs(job.folder, 100)])}
    for name, embed in (("import", False), ("import_with_vectors", True)):
        out[f"{name}_per_s"] = imports(job, name, 2000 * job.rounds, embed)
    return out


def adds(job: Job, user: str, first: int, embed: bool) -> Times:
    store = job.open()
    rows = [record(user, first + n) for n in range(job.queries)]
    times = timed(lambda n: store.add([rows[n]], embed=embed), job.queries)
    store.close()
    return times


def imports(job: Job, user: str, count: int, embed: bool) -> int:
    store, rows = job.open(), [record(user, n) for n in range(count)]
    vectors = iter(np.split(job.corpus().vectors(range(count)), count // 2000))
    store.embedder.embed = lambda texts: next(vectors)  # type: ignore[union-attr, method-assign]
    start = time.perf_counter()
    store.add(rows, embed=embed)
    return round(count / (time.perf_counter() - start))


def fsyncs(folder: Path, count: int) -> Times:
    path = folder / "fsync"
    with path.open("wb", buffering=0) as file:

        def work(_: int) -> None:
            file.write(b"x" * 4096)
            os.fdatasync(file.fileno())

        times = timed(work, count)
    path.unlink()
    return times


def query_embedding(cache: Path) -> Stats | None:
    """MiniLM's own time for one question, which no other figure contains."""
    from idiolect.errors import IdiolectError
    from idiolect.text.embedding import load_embedder

    try:
        embedder = load_embedder("minilm")
        assert embedder is not None
        embedder.embed(["warm up"])
    except IdiolectError:
        return None
    return spread([timed(lambda n: embedder.embed([f"{corpus.query(n)} {n}"]), 100)])


# -- peers -----------------------------------------------------------------------------------------------------


def peers(job: Job, python: Path, seconds: float) -> dict[str, Stats | str]:
    """Run each peer's driver in its own interpreter on the same texts and vectors."""
    data, rows = job.corpus(), list(job.level.rows())
    given = job.folder / "given"
    given.mkdir(parents=True)
    np.save(given / "vectors.npy", data.vectors([number for _, number in rows]))
    np.save(given / "asked.npy", data.asked)
    texts = [[user, corpus.text(number)] for user, number in rows]
    (given / "texts.json").write_text(json.dumps(texts))
    (given / "asked.json").write_text(json.dumps([corpus.query(n) for n in range(QUESTIONS)]))
    out: dict[str, Stats | str] = {}
    for name, (script, store) in PEERS.items():
        command = [str(python), str(HERE / "peers" / script), store, str(given), str(job.level.users), str(seconds)]
        out[name] = run_peer(command, job.folder, 4 * seconds + 600)
        print(f"    {name}: {out[name]}", flush=True)
    return out


def run_peer(command: Sequence[str], folder: Path, timeout: float) -> Stats | str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=folder, check=False)
    except subprocess.TimeoutExpired:
        return f"not finished in {timeout:.0f} s"
    if done.returncode:
        return "skipped: " + (done.stderr.strip().splitlines() or ["failed without a word"])[-1][:200]
    return dict(json.loads(done.stdout.strip().splitlines()[-1]))


# -- the run ---------------------------------------------------------------------------------------------------


def in_fresh_process(stage: Callable[[Job], Stats], job: Job) -> Stats:
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(stage, job).result()


def run_level(name: str, args: argparse.Namespace) -> Stats:
    level = Level.parse(name)
    queries, rounds = (100, 3) if args.quick else (200, 5)
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        job = Job(level, Path(folder), args.cache, rounds, queries)
        out: Stats = {"load": os.getloadavg()[0]}
        stages = [build, cold, search, *([] if level.others else [exact]), after_add]
        for stage in stages:
            out[stage.__name__] = in_fresh_process(stage, job)
            print(f"  {name} {stage.__name__}: {json.dumps(out[stage.__name__])}", flush=True)
        if level.users == 1 and not level.others:
            out["numpy"] = in_fresh_process(floor, job)
        shutil.rmtree(job.folder / "data")
        if args.peers_python and level.others <= 10_000:
            out["peers"] = peers(job, args.peers_python, args.peers_seconds)
    return out


def run(args: argparse.Namespace) -> Stats:
    corpus.load(args.cache, QUESTIONS)
    out: Stats = {
        "benchmark": "retrieval-1",
        "machine": {"cpus": os.cpu_count(), "python": platform.python_version(), "numpy": np.__version__},
        "idiolect": idiolect.__version__,
        "vectors": "MiniLM" if corpus.load(args.cache, QUESTIONS).real else "random",
        "query_embedding_ms": query_embedding(args.cache),
        "levels": {},
    }
    with tempfile.TemporaryDirectory(dir=args.work) as folder:
        job = Job(Level(1, 1), Path(folder), args.cache, 3 if args.quick else 5, 200 if args.quick else 1000)
        out["writes"] = {"load": os.getloadavg()[0], **in_fresh_process(writes, job)}
        print(f"writes: {json.dumps(out['writes'])}", flush=True)
    for name in args.levels or (QUICK if args.quick else LEVELS):
        out["levels"][name] = run_level(name, args)
    return out


def show(out: Stats) -> None:
    """Print the tables."""
    levels = out["levels"].items()
    for title, prefix in (("search and plan [ms]", ""), ("\nthe same, processor time [ms]", "cpu_")):
        row(title, "hit p50", "p95", "p99", "dense p95", "words p95", "add, then", "plan p50", "plan p95")
        for name, level in levels:
            s, p50, p95 = level["search"], prefix + "p50", prefix + "p95"
            hybrid = s["hybrid"][p50], s["hybrid"][p95], s["hybrid"][prefix + "p99"]
            after = level["after_add"][p95]
            row(name, *hybrid, s["dense"][p95], s["lexical"][p95], after, s["plan"][p50], s["plan"][p95])
    row("\ncold [ms]", "miss p50", "miss p95", "cpu p95", "others p50", "others p95", "cpu p95", "1st search")
    for name, level in levels:
        spreads = [level["search"].get(kind, {}) for kind in ("miss", "others_miss")]
        shown = [got.get(p, "-") for got in spreads for p in ("p50", "p95", "cpu_p95")]
        row(name, *shown, level["cold"]["first_ms"])
        if "mixed" in level["search"]:
            row("  random people from a fresh start", *(level["search"]["mixed"][p] for p in ("p50", "p95", "cpu_p95")))
    row("\nstore", "build/s", "bytes/rec", "RSS MB", "recall@10", "= plain", "load")
    for name, level in levels:
        b, exact = level["build"], level.get("exact", {})
        found = exact.get("dense_recall_at_10", "-"), exact.get("hybrid_equals_plain", "-")
        row(name, b["records_per_s"], b["disk_bytes_per_record"], level["search"]["rss_mb"], *found, level["load"])
    row("\nbeside", "search p50", "p95", "adds/s", "recall@10", "RSS MB", "disk MB")
    for name, level in levels:
        if "numpy" in level:
            s = level["numpy"]["search"]
            row(f"{name} numpy float32", s["p50"], s["p95"], "-", "-", level["numpy"]["rss_mb"])
        for peer, got in level.get("peers", {}).items():
            row(f"{name} {peer}", *([got] if isinstance(got, str) else peer_row(got)))
    w = out["writes"]
    row("\ndurable adds", "per s", "p50 ms", "p95 ms", "fsync p50", "fsync p95")
    for name in ("add", "add_with_vector"):
        row(name, w[name]["per_s"], w[name]["p50"], w[name]["p95"], *(w[name]["fsync_ms"][p] for p in ("p50", "p95")))
    print(f"import {w['import_per_s']:,}/s, with vectors {w['import_with_vectors_per_s']:,}/s")
    print(f"one question through MiniLM [ms], in none of the above: {out['query_embedding_ms']}")


def row(name: str, *values: object) -> None:
    shown = (f"{value:,.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
             for value in values)  # fmt: skip
    print(f"{name:40s}" + "".join(f" {value:>10s}" for value in shown))


def peer_row(got: Stats) -> list[object]:
    s = got["search"]
    return [s["p50"], s["p95"], round(got["adds_per_s"]), got["recall_at_10"], got["rss_mb"], got["disk_mb"]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--levels", nargs="+", default=[], help=f"default: {' '.join(LEVELS)}")
    parser.add_argument("--quick", action="store_true", help="small levels, fewer queries")
    parser.add_argument(
        "--peers-python", type=Path, help="an interpreter with mem0ai, faiss-cpu, langgraph ... installed"
    )
    parser.add_argument(
        "--peers-seconds", type=float, default=20.0, help="single adds a peer may take before bulk ones"
    )
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache/idiolect/benchmarks")
    parser.add_argument("--work", type=Path, help="where stores are built; default: the temporary folder")
    parser.add_argument("--json", type=Path, help="write the figures here")
    args = parser.parse_args()
    if args.peers_python and not args.peers_python.exists():
        print(f"peers skipped: there is no {args.peers_python}")
        args.peers_python = None
    out = run(args)
    if args.json:
        args.json.parent.mkdir(parents=True, exist_ok=True)
        args.json.write_text(json.dumps(out, indent=1) + "\n")
    show(out)


if __name__ == "__main__":
    main()
