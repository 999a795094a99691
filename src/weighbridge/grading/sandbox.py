"""Programs that nobody trusts, run behind the walls of `jail`; refused where the walls cannot be built."""

import os
import subprocess
import sys
from functools import lru_cache
from pathlib import Path

import msgspec

JAIL = Path(__file__).with_name("jail.py")
SYSTEM_FOLDERS = ("/usr", "/lib", "/lib64", "/lib32", "/bin")
WALL_FACTOR, WALL_S_ADDED = 2.0, 5.0
"""The wall-clock limit over the CPU limit: a program may wait without using it, and the machine may be busy."""
HOW_TO_ENABLE = (
    "the sandbox needs Linux 5.12 or later with user namespaces: sysctl kernel.unprivileged_userns_clone=1 (Debian), "
    "kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu 24.04), user.max_user_namespaces above 0; in a container, "
    "a seccomp profile that allows unshare, mount and pivot_root"
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one run may use. Exceeding a limit ends the run; it is the program's fault."""

    cpu_s: int = 10
    memory_bytes: int = 512 << 20
    file_bytes: int = 16 << 20
    tmp_bytes: int = 64 << 20


class Ran(msgspec.Struct, frozen=True, kw_only=True):
    """How a run ended. code: exit status, -N by signal N, None at the wall-clock limit."""

    code: int | None
    out: str = ""
    err: str = ""
    sign: str = ""
    """What the program wrote to descriptor 3."""


class NoSandbox(Exception):  # noqa: N818 (a state of the machine)
    """The walls cannot be built here; the message says which one and why."""


class _Job(msgspec.Struct, frozen=True, kw_only=True):
    argv: tuple[str, ...]
    files: dict[str, str]
    stdin: str
    folders: tuple[str, ...]
    cpu_s: int
    memory_bytes: int
    file_bytes: int
    tmp_bytes: int


class _Report(msgspec.Struct, frozen=True, kw_only=True):
    refused: str | None = None
    code: int | None = None
    out: str = ""
    err: str = ""
    sign: str = ""


def run(files: dict[str, str], stdin: str, limits: Limits) -> Ran:
    """Run `/tmp/main.py` of `files` (path inside -> text) in Python, isolated. Raises `NoSandbox`."""
    interpreter = os.path.realpath(sys.executable)
    prefix = os.path.realpath(sys.base_prefix)
    own = () if any(prefix == top or prefix.startswith(top + "/") for top in SYSTEM_FOLDERS) else (prefix,)
    if "/" in own:
        raise NoSandbox("Python is installed in the root folder, which would be all of the host")
    job = _Job(
        argv=(interpreter, "-I", "-S", "-B", "/tmp/main.py"),  # noqa: S108 (inside the sandbox)
        files=files,
        stdin=stdin,
        folders=(*SYSTEM_FOLDERS, *own),
        cpu_s=limits.cpu_s,
        memory_bytes=limits.memory_bytes,
        file_bytes=limits.file_bytes,
        tmp_bytes=limits.tmp_bytes,
    )
    try:
        ended = subprocess.run(
            [interpreter, "-I", "-S", str(JAIL)],
            input=msgspec.json.encode(job),
            capture_output=True,
            env={},
            timeout=limits.cpu_s * WALL_FACTOR + WALL_S_ADDED,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Ran(code=None)
    try:
        report = msgspec.json.decode(ended.stdout, type=_Report)
    except msgspec.MsgspecError:
        said = ended.stderr.decode("utf-8", "replace").strip().splitlines()
        raise NoSandbox(f"the sandbox ended without a report: {said[-1] if said else ended.returncode}") from None
    if report.refused is not None:
        raise NoSandbox(report.refused)
    return Ran(code=report.code, out=report.out, err=report.err, sign=report.sign)


@lru_cache(maxsize=1)
def why_not() -> str | None:
    """Why programs cannot be isolated on this machine, with how to enable it; `None` where they can."""
    try:
        ran = run({"/tmp/main.py": "print('up')"}, "", Limits())  # noqa: S108
    except (NoSandbox, OSError) as error:
        return f"{error}; {HOW_TO_ENABLE}"
    if ran.out.strip() != "up":
        return f"a program that prints one word ended with {ran.code} and printed {ran.out[:40]!r}; {HOW_TO_ENABLE}"
    return None
