"""TensorRT's real Python bindings without TensorRT: the wheel's bindings, over stub libraries of our own.

The bindings hold the classes, enums, signatures and plugin decorators; what computes is in three libraries of several
gigabytes. Empty functions in their place let the bindings import, on any Linux with a C compiler, and nothing more:
every call that would compute returns null. As a program:

    python tests/trt_plans/stub_libraries.py FOLDER WHEEL

makes FOLDER/tensorrt, so that `import tensorrt` works with FOLDER on the path. WHEEL is a file of the distribution
tensorrt-cu13-bindings (or -cu12-) for the Python that runs: `pip download --no-deps tensorrt-cu13-bindings==11.4.*`.
Wheels are NVIDIA's, under its licence, and never part of this repository.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

LIBRARIES = {
    "nvinfer": (
        "createInferBuilder_INTERNAL",
        "createInferRefitter_INTERNAL",
        "createInferRuntime_INTERNAL",
        "getBuilderPluginRegistry",
        "getPluginRegistry",
    ),
    "nvinfer_plugin": ("initLibNvInferPlugins",),
    "nvonnxparser": (
        "createNvOnnxParserRefitter_INTERNAL",
        "createNvOnnxParser_INTERNAL",
        "getNvOnnxParserVersion",
    ),
}
"What the bindings link to, and which functions they ask of it."

WHEEL = re.compile(r"tensorrt_cu\d+_bindings-(?P<version>(?P<major>\d+)\.[^-]+)-cp(?P<python>\d+)-.*linux.*\.whl$")


def unpack(folder: Path, wheel: Path) -> Path:
    """FOLDER/tensorrt: the bindings of a wheel, stub libraries beside them. Returns FOLDER.

    Raises ValueError for a file that is no such wheel or is one for another Python, OSError where there is no compiler.
    """
    match = WHEEL.search(wheel.name)
    if match is None:
        raise ValueError(f"{wheel.name}: not a Linux wheel of tensorrt-cu13-bindings")
    if match["python"] != f"{sys.version_info.major}{sys.version_info.minor}":
        raise ValueError(f"{wheel.name}: for Python {match['python']}, not {sys.version_info[:2]}")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise OSError("the stub libraries need a C compiler (cc)")
    package = folder / "tensorrt"
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(wheel) as archive:
        inside = [name for name in archive.namelist() if name.startswith("tensorrt_bindings/")]
        archive.extractall(folder, inside)
    # Under its public name, which a further distribution gives it.
    (folder / "tensorrt_bindings").rename(package)
    for library, functions in LIBRARIES.items():
        name = f"lib{library}.so.{match['major']}"
        source = "".join(f"void *{function}(void) {{ return 0; }}\n" for function in functions)
        options = ["-shared", "-fPIC", f"-Wl,-soname,{name}", "-o", str(package / name), "-x", "c", "-"]
        subprocess.run([compiler, *options], input=source, text=True, check=True)
    return folder


if __name__ == "__main__":
    print(unpack(Path(sys.argv[1]), Path(sys.argv[2])))
