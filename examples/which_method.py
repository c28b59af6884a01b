"""Which method serves whom: two people with a past, measured on their own latest records."""

from __future__ import annotations

import time

from idiolect import Idiolect, Record
from idiolect.evidence.account import account
from idiolect.store.view import view

DAY = 86400.0
CHOICES = {"ana": ("tea", "rice", "lakes"), "ben": ("coffee", "steak", "engines")}
QUESTIONS = ("What will you drink", "What will you eat", "What shall we look at")


def past(user: str) -> list[Record]:
    """Return a month of choices."""
    days = [(time.time() + (n - 30) * DAY, f"{QUESTIONS[n % 3]} on day {n}?", CHOICES[user][n % 3]) for n in range(24)]
    return [Record.new(user, chosen, time=when, kind="preference", input=asked) for when, asked, chosen in days]


with Idiolect.open(remember=False) as app:
    for user in CHOICES:
        app.store.add(past(user))
    app.prove("auto", list(CHOICES))
    for user in CHOICES:
        told = account("auto", view(app.store, user), app.backend.fingerprint)
        print(f"{user} is served by {told['serves']}; without personalization {told['none']:.2f}")
        for row in told["candidates"]:
            print(f"   {row['candidate']}: {row['gain']:+.2f} for {row['tokens']:.0f} tokens more")
