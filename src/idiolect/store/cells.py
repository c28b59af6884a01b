"""The forms in which records, index entries and artifacts are sealed."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import orjson

from idiolect.errors import NotFound, RecordTooLarge
from idiolect.store.index import Entry
from idiolect.store.rows import Plane
from idiolect.text.terms import hash64, speaker_hash, terms
from idiolect.types import KINDS, Artifact, Body, Floats, Record

MAX_RECORD_BYTES = 16 << 20
_INPUT_CHARS = 400


def place(uid: int, plane: Plane, number: int) -> bytes:
    """Return what is authenticated with a cell: where it lies."""
    return b"%d|%d|%d" % (uid, plane, number)


def dump_record(record: Record) -> bytes:
    """Serialise all but the user id, which the cell's place already says."""
    try:
        data = orjson.dumps(
            [record.id, record.kind, record.time, record.input, record.output, record.source, record.meta],
            option=orjson.OPT_NON_STR_KEYS,
        )
    except TypeError as error:
        raise RecordTooLarge(f"record {record.id} cannot be stored: {error}. meta must be plain JSON.") from error
    if len(data) > MAX_RECORD_BYTES:
        raise RecordTooLarge(
            f"record {record.id} ({record.source}) has {len(data):,} bytes; the limit is {MAX_RECORD_BYTES:,}. "
            "Split it into smaller records."
        )
    return data


def load_record(data: bytes, user_id: str) -> Record:
    """Inverse of :func:`dump_record`."""
    rid, kind, time, before, output, source, meta = orjson.loads(data)
    return Record(rid, user_id, kind, time, before, output, source, meta)


def index_text(record: Record) -> str:
    """Return what a record is found by: who spoke, what was said, and the beginning of what stood before."""
    speaker = record.meta.get("speaker", "")
    said = f"{speaker}: {record.output}" if speaker else record.output
    return f"{said}\n{record.input[:_INPUT_CHARS]}" if record.input else said


def make_entry(record: Record, vector: Floats | None) -> Entry:
    """Build the index entry of a record."""
    return Entry(
        record.time,
        hash64(str(record.meta.get("session", ""))),
        speaker_hash(str(record.meta.get("speaker", ""))),
        KINDS.index(record.kind),
        terms(index_text(record)),
        vector,
    )


def dump_entry(entry: Entry) -> bytes:
    """Serialise an index entry."""
    head = orjson.dumps([entry.time, entry.session, entry.speaker, entry.kind, entry.terms])
    vector = b"" if entry.vector is None else entry.vector.astype(np.float32).tobytes()
    return struct.pack("<I", len(head)) + head + vector


def load_entry(data: bytes) -> Entry:
    """Inverse of :func:`dump_entry`."""
    (size,) = struct.unpack_from("<I", data)
    time, session, speaker, kind, ids = orjson.loads(data[4 : 4 + size])
    vector = np.frombuffer(data[4 + size :], np.float32) if len(data) > 4 + size else None
    return Entry(time, session, speaker, kind, ids, vector)


def dump_artifact(artifact: Artifact) -> bytes:
    """Serialise an artifact: a JSON head, which says of the body what it is, and the payload as it is."""
    head: dict[str, Any] = {
        "id": artifact.id, "kind": artifact.kind, "method": artifact.method, "settings": artifact.settings,
        "record_ids": artifact.record_ids, "time": artifact.time, "base_model": artifact.base_model,
        "scores": artifact.scores, "people": artifact.people,
    }  # fmt: skip
    if artifact.body is not None:
        head["body"] = [artifact.body.digest, artifact.body.size]
    data = orjson.dumps(head)
    return struct.pack("<I", len(data)) + data + artifact.payload


def load_artifact(data: bytes, user_id: str) -> Artifact:
    """Inverse of :func:`dump_artifact`; whoever knows where the body lies puts the way to read it in."""
    (size,) = struct.unpack_from("<I", data)
    head = orjson.loads(data[4 : 4 + size])
    head["record_ids"] = tuple(head["record_ids"])
    head["people"] = tuple(head.get("people", ()))
    if "body" in head:
        digest, length = head["body"]
        head["body"] = Body(digest, length, _nowhere)
    return Artifact(user_id=user_id, payload=data[4 + size :], **head)


def _nowhere() -> bytes:
    raise NotFound("this artifact was read without its weights")
