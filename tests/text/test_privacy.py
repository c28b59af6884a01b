"""Dependencies must keep to themselves too."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from idiolect import models


@pytest.mark.models
def test_the_embedder_leaves_no_trace_outside_its_folder(tmp_path):
    path = models.find("minilm")
    if path is None:
        pytest.skip("run: idiolect models pull minilm")
    code = (
        "from idiolect.text.embedding import load_embedder\n"
        f"print(load_embedder({str(path)!r}).embed(['hello']).shape)\n"
    )
    # Vendors mute themselves under CI, which would hide it.
    quiet = ("CI", "ORT_", "DO_NOT_TRACK", "GITHUB_")
    env = {k: v for k, v in os.environ.items() if not k.startswith(quiet)}
    env |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "(1, 384)", done.stderr
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
