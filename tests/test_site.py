"""The pages make a site, with the API reference; a broken link or an unknown name fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.long
def test_the_site_is_built_without_a_warning(tmp_path: Path):
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reference = (tmp_path / "api.html").read_text()
    for name in ("codec.pipeline.Device.each", "codec.model.codec.FeatureCodec.encode"):
        assert f'id="{name}"' in reference
    assert 'href="tutorial.html"' in (tmp_path / "index.html").read_text()
