"""mem0 without a language model (infer=False) over one of its embedded vector stores; run by ``retrieval.py``.

    python mem0_store.py qdrant|faiss FOLDER USERS SECONDS

FOLDER holds the texts and vectors; nothing else is embedded. Single ``Memory.add`` calls are timed for SECONDS; what is
left then goes in by the vector store's own bulk ``insert``, which is not timed. Telemetry is off: with it on, mem0
waits for the network. The key is a dummy that its constructor asks for.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import sys
import tempfile
import uuid

import given

kind, folder, users, seconds = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
work = tempfile.mkdtemp(dir=".")
os.environ.update(MEM0_DIR=f"{work}/home", MEM0_TELEMETRY="False", HF_HUB_OFFLINE="1")
logging.disable(logging.WARNING)

from mem0 import Memory  # noqa: E402 - reads the environment when imported

data = given.Given(folder, users)
stores = {
    "qdrant": {"path": f"{work}/store", "embedding_model_dims": data.dim, "on_disk": True, "collection_name": "bench"},
    "faiss": {
        "path": f"{work}/store", "embedding_model_dims": data.dim, "distance_strategy": "cosine",
        "collection_name": "bench",
    },
}  # fmt: skip
memory = Memory.from_config(
    {
        "embedder": {"provider": "openai", "config": {"api_key": "unused", "embedding_dims": data.dim}},
        "llm": {"provider": "openai", "config": {"api_key": "unused"}},
        "vector_store": {"provider": kind, "config": stores[kind]},
        "history_db_path": f"{work}/history.db",
    }
)
memory.embedding_model.embed = lambda text, memory_action=None: data.vector(text)


def payload(user: str, text: str) -> dict:
    now = datetime.datetime.now(datetime.UTC).isoformat()
    digest = hashlib.md5(text.encode()).hexdigest()
    return {
        "user_id": user, "data": text, "hash": digest, "created_at": now, "updated_at": now, "text_lemmatized": text
    }  # fmt: skip


def fill(start: int) -> None:
    for first in range(start, len(data.texts), 1000):
        rows = data.texts[first : first + 1000]
        memory.vector_store.insert(
            vectors=data.vectors[first : first + 1000].tolist(),
            ids=[str(uuid.uuid4()) for _ in rows],
            payloads=[payload(user, text) for user, text in rows],
        )


def search(user: str, text: str, k: int) -> list[str]:
    found = memory.search(text, filters={"user_id": user}, top_k=k, threshold=0.0)
    return [hit["memory"] for hit in found["results"]]


adds = data.add(lambda user, text: memory.add(text, user_id=user, infer=False), seconds)
fill(len(adds))
print(json.dumps(data.report(adds, search, work)))
