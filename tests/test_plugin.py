"""A method from a separate, installed package is found, listed, configured and held to the conformance tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Install the plugin where only this test looks."""
    target = tmp_path_factory.mktemp("site")
    # Laid out as an installer would, without asking a package index for the build backend.
    package = target / "idiolect_shout"
    package.mkdir()
    (package / "__init__.py").write_text((HERE / "plugin/idiolect_shout/__init__.py").read_text())
    info = target / "idiolect_shout-0.0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: idiolect-shout\nVersion: 0.0.1\n")
    (info / "entry_points.txt").write_text("[idiolect.methods]\nshout = idiolect_shout\n")
    return target


def python(site, *args):
    path = os.pathsep.join([str(site), str(HERE), *sys.path])
    return subprocess.run(
        [sys.executable, *args], capture_output=True, text=True, timeout=300, env={**os.environ, "PYTHONPATH": path}
    )


def test_it_is_listed_and_configured(site):
    code = """
import json
from idiolect import registry
entry, (_, method) = registry.methods.get("shout"), registry.make_method({"name": "shout", "k": 5})
print(json.dumps([registry.methods.names(), entry.summary, registry.settings_of(method)]))
"""
    done = python(site, "-c", code)
    names, summary, settings = json.loads(done.stdout)
    assert "shout" in names
    assert summary == "Repeat the newest records in capitals."
    assert settings == {"k": 5}


def test_it_passes_the_conformance_tests(site):
    done = python(
        site, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", "shout", str(HERE / "conformance")
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert "17 passed" in done.stdout


def test_without_the_package_it_is_unknown():
    from idiolect import registry
    from idiolect.errors import UnknownName

    with pytest.raises(UnknownName, match="no method named 'shout'"):
        registry.make_method("shout")
