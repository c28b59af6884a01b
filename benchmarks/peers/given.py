"""What every peer's driver is given, and how each is measured: the same texts, vectors, questions and clock."""

from __future__ import annotations

import json
import os
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

K, ROUNDS, ENOUGH_S = 10, 3, 20.0


class Given:
    """Texts with their users, their vectors, and questions with theirs."""

    def __init__(self, folder: str, users: int) -> None:
        self.users = users
        self.texts: list[list[str]] = json.loads(Path(folder, "texts.json").read_text())  # [user, text]
        self.asked: list[str] = json.loads(Path(folder, "asked.json").read_text())
        self.vectors = np.load(f"{folder}/vectors.npy")
        self.dim = self.vectors.shape[1]
        self._asked = np.load(f"{folder}/asked.npy").astype(np.float32)
        self._asked_lists = self._asked.tolist()
        self._at = {text: n for n, (_, text) in enumerate(self.texts)}
        self._asked_at = {text: n for n, text in enumerate(self.asked)}
        self.rss = rss_mb()

    def vector(self, text: str) -> list[float]:
        """Return the vector of a text or question."""
        n = self._at.get(text)
        return self._asked_lists[self._asked_at[text]] if n is None else self.vectors[n].tolist()

    def key(self, text: str) -> str:
        """Return a short name of a text."""
        return str(self._at[text])

    def add(self, one: Callable[[str, str], object], seconds: float) -> list[float]:
        """Add texts one by one until the time is up; return what each took [s]."""
        times: list[float] = []
        stop = time.perf_counter() + seconds
        for user, text in self.texts:
            start = time.perf_counter()
            if start > stop:
                break
            one(user, text)
            times.append(time.perf_counter() - start)
        return times

    def report(self, adds: list[float], search: Callable[[str, str, int], list[str]], work: str) -> dict:
        """Measure searching, and compare what is found with brute force."""
        rng, rounds, started = random.Random(1), [], time.perf_counter()
        search("u0", self.asked[0], K)
        for _ in range(ROUNDS):
            times: list[float] = []
            for text in self.asked:
                user = f"u{rng.randrange(self.users)}"
                start = time.perf_counter()
                search(user, text, K)
                times.append((time.perf_counter() - start) * 1e3)
                if time.perf_counter() - started > ENOUGH_S and len(times) >= 10:
                    break
            rounds.append(times)
            if time.perf_counter() - started > ENOUGH_S:
                break
        return {
            "search": {
                f"p{q}": round(float(np.median([np.percentile(r, q) for r in rounds])), 4) for q in (50, 95, 99)
            },
            "searches": sum(map(len, rounds)),
            "recall_at_10": round(self._recall(search), 4),
            "adds": len(adds),
            "adds_per_s": round(len(adds) / sum(adds), 1),
            "adds_per_s_last_tenth": round(len(adds[-len(adds) // 10 :]) / sum(adds[-len(adds) // 10 :]), 1),
            "rss_mb": round(rss_mb() - self.rss),
            "disk_mb": round(int(subprocess.check_output(["du", "-sk", work]).split()[0]) / 1024, 1),
            "load": os.getloadavg()[0],
        }

    def _recall(self, search: Callable[[str, str, int], list[str]]) -> float:
        own = [n for n, (user, _) in enumerate(self.texts) if user == "u0"]
        k, hits = min(K, len(own)), []
        for n, text in enumerate(self.asked[:10]):
            best = np.argsort(-(self.vectors[own] @ self._asked[n]))[:k]
            hits.append(len({self.texts[own[i]][1] for i in best} & set(search("u0", text, K))) / k)
        return float(np.mean(hits))


def rss_mb() -> float:
    """Memory of this process now."""
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) / 1024 for line in file if line.startswith("VmRSS"))
