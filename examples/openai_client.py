"""A first personal answer through the ordinary `openai` client.

    idiolect serve &                     # in one terminal
    python examples/openai_client.py     # in another

Nothing but the base address and the user's id differs from talking to any other endpoint.
"""

from __future__ import annotations

import os
import time

from openai import OpenAI

client = OpenAI(base_url=os.environ.get("IDIOLECT_URL", "http://127.0.0.1:8484/v1"), api_key="unused-on-loopback")

for text in ("I am a vegetarian and I love saffron.", "Suggest one dish for tonight."):
    answer = client.chat.completions.with_raw_response.create(
        model="default",
        messages=[{"role": "user", "content": text}],
        user="ana",  # or the header X-User-Id, or an API key that is bound to her
        max_tokens=60,
    )
    print(f"> {text}\n{answer.parse().choices[0].message.content}")
    time.sleep(1)  # what is told is kept after the answer, off the critical path
    why = {name: answer.headers.get(f"x-idiolect-{name}") for name in ("personalized", "trace")}
    print(f"  personalized: {why['personalized']}, trace: {why['trace']}\n")
