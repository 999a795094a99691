"""Programs that nobody trusts: what they may do, and each way out that they try."""

import contextlib
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from weighbridge.grading import sandbox
from weighbridge.grading.sandbox import Limits, Ran, run, why_not

pytestmark = pytest.mark.skipif(why_not() is not None, reason=f"code cannot be isolated here: {why_not()}")

SHORT = Limits(cpu_s=2, memory_bytes=128 << 20, file_bytes=1 << 20, tmp_bytes=4 << 20)


def ran(program: str, stdin: str = "") -> Ran:
    return run({"/tmp/main.py": program}, stdin, SHORT)


def test_a_program_reads_its_input_and_prints() -> None:
    assert Ran(code=0, out="4711\n") == ran("print(int(input()) + 1)", "4710")


def test_threads_and_temporary_files_are_allowed() -> None:
    program = """
import tempfile, threading
said = []
thread = threading.Thread(target=said.append, args=(1,)); thread.start(); thread.join()
with tempfile.TemporaryFile() as file:
    file.write(b"x"); file.seek(0); print(said, file.read())
"""
    assert "[1] b'x'\n" == ran(program).out


ESCAPES = {
    "the host's files": "print(open('/etc/passwd').read())",
    "the host's processes": "print(open('/proc/1/environ').read())",
    "the host's home folders": "import os; print(os.listdir('/home'))",
    "the interpreter's files": "import os; open(os.__file__, 'a')",
    "a new process": "import os; os.fork()",
    "another program": "import subprocess; subprocess.run(['/bin/ls'])",
    "the network": "import socket; socket.create_connection(('127.0.0.1', 80), 1)",
    "the host through a virtual socket": "import socket; socket.socket(40, socket.SOCK_STREAM)",
    "a local socket": "import socket; socket.socket(socket.AF_UNIX)",
    "new namespaces": "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "a mount": "import ctypes; assert ctypes.CDLL(None).mount(b'none', b'/tmp', b'tmpfs', 0, None) == 0",
    "tracing": "import ctypes; assert ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0",
    "a kernel program": "import ctypes; assert ctypes.CDLL(None).syscall(321, 0, 0, 0) >= 0",
    "memory past the limit": "x = bytearray(1 << 30)",
    "memory in hidden files": "import os; os.memfd_create('x')",
    "a file past the limit": "open('/tmp/x', 'wb').write(b'x' * (2 << 20))",
    "many files past the limit": "for n in range(9): open(f'/tmp/{n}', 'wb').write(b'x' * (1 << 20))",
    "output without end": "import sys\nwhile True: sys.stdout.write('x' * 65536)",
    "more open files": "kept = [open('/dev/zero') for _ in range(100)]",
    "a device": "import os, stat; os.mknod('/tmp/sda', 0o600 | stat.S_IFBLK, os.makedev(8, 0))",
    "another user": "import os; os.setuid(0)",
}  # fmt: skip


@pytest.mark.parametrize("what", ESCAPES)
def test_no_program_gets(what: str) -> None:
    ended = ran(ESCAPES[what])
    assert ended.code not in (0, None), ended
    assert "root:" not in ended.out


def test_a_program_without_end_is_ended_by_its_time() -> None:
    assert -9 == ran("while True: pass").code


def test_a_program_that_waits_without_end_is_ended_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "WALL_S_ADDED", -3.0)  # 2 s of CPU, twice over, less this: one second
    assert ran("import time; time.sleep(600)").code is None


def test_nothing_of_an_ended_program_lives_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "WALL_S_ADDED", 0.0)
    name = f"wb-{time.time_ns() % 10**11}"
    program = f"import ctypes, time; ctypes.CDLL(None).prctl(15, {name.encode()!r}); time.sleep(600)"
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(ran, program)
        while not _processes(name):
            assert not running.done()
        assert running.result().code is None
    end = time.monotonic() + 30.0
    while _processes(name):  # the kernel ends the namespace while its starter is waited for
        assert time.monotonic() < end


def _processes(name: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if file.read_text().strip() == name:
                found.append(str(file))
    return found


def test_where_the_walls_cannot_be_built_the_reason_and_the_way_out_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(files: dict[str, str], stdin: str, limits: Limits) -> Ran:
        raise sandbox.NoSandbox("user namespaces: Operation not permitted (EPERM)")

    monkeypatch.setattr(sandbox, "run", refused)
    said = why_not.__wrapped__()
    assert said is not None
    assert said.startswith("user namespaces: Operation not permitted (EPERM); the sandbox needs Linux 5.12")
    assert "kernel.apparmor_restrict_unprivileged_userns=0" in said
