"""Official clients' own tests against the running server.

    python benchmarks/official_clients.py [--work DIR]

Makes two virtual environments in ``DIR`` (packages come from the configured package index, nothing else is fetched),
starts the server twice, in front of a stub of an OpenAI-compatible endpoint and over the toy model, and runs

- the API-resource tests that ship in the ``openai`` package's source distribution: chat, completions, responses,
  models, embeddings;
- ``langchain-tests``' integration tests for chat models, with ``langchain-openai``.

Every test of those files is run. One that asks for what a server of this kind does not offer counts as "not ours", by
the rules in ``NOT_OURS``; every other failure is printed with its reason.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
import tempfile
import xml.etree.ElementTree as ElementTree
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests"))
OPENAI = "3.51.0"
FILES = ("chat/test_completions", "test_responses", "test_models", "test_embeddings", "test_completions")
NOT_OURS = (
    (r"chat.test_completions.*_(retrieve|update|list|delete)", "stored chat completions: a local model stores none"),
    (r"test_responses.*_(retrieve|delete|cancel|compact)", "stored responses: a local model stores none"),
    (r"test_models.*_delete", "deleting a fine-tuned model"),
    (r"test_models.*_retrieve", "a model of a name that is not here"),
    (
        r"test_embeddings.*(?<!all_params)\[(strict|aiohttp)\]",
        "the client asks for base64 and then, in strict validation, refuses any answer but a list of numbers",
    ),
)
"""Tests that ask a model of our own for what only a hosted service has; in front of an endpoint they all count."""

_RUN = (
    "import json, sys\n"
    "from idiolect import config\n"
    "from idiolect.serve import serve\n"
    "serve(config.parse(json.loads(sys.argv[1])), announce=lambda address: print(address, flush=True))\n"
)
_LANGCHAIN = """
import os
from langchain_openai import ChatOpenAI
from langchain_tests.integration_tests import ChatModelIntegrationTests


class TestIdiolect(ChatModelIntegrationTests):
    @property
    def chat_model_class(self):
        return ChatOpenAI

    @property
    def chat_model_params(self):
        return {"model": "stub-1", "base_url": os.environ["BASE_URL"], "api_key": "unused", "stream_usage": True,
                "model_kwargs": {"user": "ana"}}

    @property
    def supports_json_mode(self):
        return True
"""


def environment(folder: Path, *packages: str) -> Path:
    """Return the interpreter of a virtual environment with these packages."""
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "--quiet", *packages], check=True)
        (folder / "ready").touch()
    return python


def sdist(python: Path, work: Path) -> Path:
    """Return the unpacked source distribution of the openai package."""
    folder = work / f"openai-{OPENAI}"
    if not folder.exists():
        wanted = [f"openai=={OPENAI}", "--no-deps", "--no-binary", "openai", "--dest", str(work)]
        subprocess.run([str(python), "-m", "pip", "download", "--quiet", *wanted], check=True)
        with tarfile.open(work / f"openai-{OPENAI}.tar.gz") as archive:
            archive.extractall(work, filter="data")
    return folder


@contextmanager
def server(**settings: Any) -> Iterator[str]:
    """Run the server; yield its base address."""
    with tempfile.TemporaryDirectory() as folder:
        table = {"paths": {"data": f"{folder}/data", "keys": f"{folder}/keys"}, "serve": {"port": 0}, **settings}
        variables = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, json.dumps(table)], stdout=subprocess.PIPE, text=True, env=variables
        )
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip() + "/v1"
        finally:
            process.terminate()
            process.wait()


def run(python: Path, folder: Path, arguments: list[str], **variables: str) -> list[tuple[str, str, str]]:
    """Run pytest; return (test, outcome, reason)."""
    with tempfile.TemporaryDirectory() as out:
        report = Path(out) / "report.xml"
        command = [str(python), "-m", "pytest", *arguments, f"--junitxml={report}", "-q"]
        done = subprocess.run(command, cwd=folder, env={**os.environ, **variables}, capture_output=True, text=True)
        if not report.exists():
            raise SystemExit(done.stdout[-3000:] + done.stderr[-3000:])
        return [_outcome(case) for case in ElementTree.parse(report).iter("testcase")]


def _outcome(case: ElementTree.Element) -> tuple[str, str, str]:
    name = f"{case.get('classname', '').removeprefix('tests.api_resources.')}::{case.get('name')}"
    for kind in ("failure", "error", "skipped"):
        found = case.find(kind)
        if found is not None:
            return name, kind, (found.get("message") or "").split("\n")[0][:160]
    return name, "passed", ""


def report(title: str, outcomes: list[tuple[str, str, str]], rules: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    """Print and return the counts, and every failure by its reason."""
    counts: Counter[str] = Counter()
    reasons: dict[str, list[str]] = {}
    for name, kind, reason in outcomes:
        rule = next((why for pattern, why in rules if kind != "passed" and re.search(pattern, name)), None)
        counts["not ours" if rule else kind] += 1
        if kind != "passed":
            reasons.setdefault(rule or reason, []).append(name)
    applies = counts["passed"] + counts["failure"] + counts["error"]
    print(f"{title}: {counts['passed']} of {applies} that apply pass; {dict(counts)}")
    for reason, names in sorted(reasons.items(), key=lambda item: -len(item[1])):
        print(f"  {len(names):4}  {reason}   (first: {names[0]})")
    return {
        "title": title,
        "counts": dict(counts),
        "reasons": {reason: len(names) for reason, names in reasons.items()},
    }


def main() -> None:
    from serve.stub import Stub

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path.home() / ".cache" / "idiolect" / "official-clients")
    parser.add_argument("--json", type=Path, help="write the counts here, too")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    helpers = (
        "pytest pytest-asyncio pytest-xdist respx dirty-equals inline-snapshot time-machine nest-asyncio rich aiohttp"
    )
    python = environment(options.work / "openai", f"openai=={OPENAI}", *helpers.split())
    chain = environment(options.work / "langchain", "langchain-tests", "langchain-openai")
    folder = sdist(python, options.work)
    tests = ["-n", "0", "--durations=0", *(f"tests/api_resources/{name}.py" for name in FILES)]
    found = []
    with Stub() as stub:
        front = {"backend": "openai", "backends": {"openai": {"base_url": stub.address}}, "embedder": "none"}
        with server(**front) as address:
            found.append(
                report("openai, in front of an endpoint", run(python, folder, tests, TEST_API_BASE_URL=address))
            )
            module = options.work / "test_idiolect.py"
            module.write_text(_LANGCHAIN)
            loops = [f"asyncio_default_{what}_loop_scope=session" for what in ("test", "fixture")]
            arguments = [part for option in ("asyncio_mode=auto", *loops) for part in ("-o", option)]
            arguments += ["-p", "no:cacheprovider", module.name]
            outcomes = run(chain, options.work, arguments, BASE_URL=address)
            found.append(report("langchain-tests, in front of an endpoint", outcomes))
    with server(backend="toy", embedder=os.environ.get("IDIOLECT_EMBEDDER", "static")) as address:
        outcomes = run(python, folder, tests, TEST_API_BASE_URL=address)
        found.append(report("openai, over a model of our own", outcomes, NOT_OURS))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
