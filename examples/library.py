"""The same without a server: two people, one question, and why each got their answer."""

from __future__ import annotations

import time

from idiolect import Idiolect, Record

LIKES = {"ana": "I am a vegetarian and I love saffron.", "ben": "I eat steak every day, rare, with pepper."}

with Idiolect.open(remember=False) as app:
    for user, text in LIKES.items():
        app.store.add([Record.new(user, text, time=time.time(), kind="profile")])
    for user in LIKES:
        answer = app.ask("What should I cook tonight?", user)
        print(f"{user}: {answer.text}")
        for used in answer.used:
            print(f"   because of {used.slot}: {used.text}")
