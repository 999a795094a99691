"""The hot path compiled to C, in a wheel for one platform. Used by `scripts/build --compiled`, and by nothing else.

The pure wheel stays what everybody can install. This one holds, beside the same source files, extension modules that
mypyc made of them; Python loads those first. It needs a C compiler and Python's headers where it is built, and nothing
where it is installed.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

HOT = (
    "gateway/admit", "gateway/attempts", "gateway/client", "gateway/door", "gateway/doors", "gateway/drains",
    "gateway/exchange", "gateway/gateway", "gateway/hedge", "gateway/meter", "gateway/outgoing", "gateway/outliers",
    "gateway/passed", "gateway/plan", "gateway/relay", "gateway/seen", "gateway/slots", "gateway/translated",
    "exchanges/bodies", "exchanges/redact", "exchanges/writer", "wire/openai", "wire/raw", "wire/usage",
)  # fmt: skip
"""What a request goes through, but for modules that mypyc cannot do as they are: it drops the arguments of a metaclass
(`Struct`), and what it made cannot be copied (`Lanes`)."""

_SETUP = """
import sys
from mypyc.build import mypycify
from setuptools import setup
setup(
    name="weighbridge",
    ext_modules=mypycify(sys.argv[1:], opt_level="2", debug_level="0", group_name="weighbridge_hot"),
    script_args=["build_ext", "--inplace"],
)
"""


class CustomBuildHook(BuildHookInterface[Any]):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel" or version == "editable":
            return
        self.folder = tempfile.mkdtemp(prefix="weighbridge-compiled-")
        built = Path(self.folder)
        shutil.copytree(Path(self.root, "src", "weighbridge"), built / "weighbridge", ignore=_not_source)
        shutil.copy(Path(self.root, "pyproject.toml"), built)  # how strictly types are checked
        # The folder's name is made anew each time and must not be in the result; neither must a date.
        flags = f"-w -ffile-prefix-map={built}=. " + os.environ.get("CFLAGS", "")
        subprocess.run(
            [sys.executable, "-c", _SETUP, *(f"weighbridge/{module}.py" for module in HOT)],
            cwd=built,
            env={**os.environ, "CFLAGS": flags, "MYPYPATH": ".", "PYTHONHASHSEED": "0"},
            stdout=sys.stderr,
            check=True,
        )
        made = sorted(path for pattern in ("*.so", "weighbridge/**/*.so") for path in built.glob(pattern))
        build_data["force_include"].update({str(path): str(path.relative_to(built)) for path in made})
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        shutil.rmtree(getattr(self, "folder", ""), ignore_errors=True)


def _not_source(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "__pycache__" or name.endswith(".so")]
