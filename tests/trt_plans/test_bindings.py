"""Everything that we use of TensorRT, beside its real bindings, over stub libraries: no GPU, nothing is computed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
VARIABLE = "VISAVIS_TENSORRT_WHEELS"


def wheels() -> list[Path]:
    folder = os.environ.get(VARIABLE)
    python = f"cp{sys.version_info.major}{sys.version_info.minor}"
    return sorted(Path(folder).glob(f"tensorrt_cu*_bindings-*{python}*linux*.whl")) if folder else []


@pytest.mark.skipif(
    not wheels(),
    reason=f"no wheels of TensorRT's bindings: pip download --no-deps -d FOLDER tensorrt-cu13-bindings==11.4.0.106 "
    f"(and ==10.16.1.11), then set {VARIABLE} to the folder",
)
@pytest.mark.parametrize("wheel", wheels(), ids=lambda wheel: wheel.name.split("-")[1])
def test_every_name_call_and_plugin_is_what_the_bindings_have(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(HERE / "stub_libraries.py"), str(tmp_path), str(wheel)], check=True, timeout=60)
    run = subprocess.run(
        [sys.executable, str(HERE / "bindings_check.py")],
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(tmp_path), os.environ.get("PYTHONPATH", "")))},
        capture_output=True,
        text=True,
        timeout=150,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    checked = json.loads(run.stdout.splitlines()[-1])
    assert checked["version"] == wheel.name.split("-")[1]
    assert checked["members"] > 50
    assert checked["calls"] > 20
    assert checked["plugins"] == 12
    assert checked["launches"] == 36
    try:
        from engine.kernels.compile import nvrtc_version

        nvrtc_version()
    except ImportError:
        assert checked["compiled"] == 0
    else:
        assert checked["compiled"] == 4


def test_tensorrt_is_imported_where_it_is_checked_alone() -> None:
    """So that everything else works without it, and one place says what is missing."""
    importing = [
        path.name
        for path in (HERE.parents[1] / "trt_plans").glob("*.py")
        if 'import_module("tensorrt' in path.read_text(encoding="utf-8")
        or "import tensorrt" in path.read_text(encoding="utf-8")
    ]
    assert sorted(importing) == ["plugins.py", "tensorrt_package.py"]
