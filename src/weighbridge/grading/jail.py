"""Runs one program that nobody trusts: a script of its own, started by `sandbox`, standard library only.

Reads a JSON job from standard input, builds the walls, runs the program, prints a JSON report. The walls:

- user, mount, network, process, IPC and host-name namespaces of its own; the network has no interface that is up
- a root of its own in memory: the interpreter's files, read-only, an empty `/tmp` of limited size, three devices
- no capability, no new privileges, and a system-call filter that denies new processes and the calls by which sandboxes
  are left (new namespaces, mounts, tracing, keyrings, io_uring, BPF)
- limits on CPU time, memory, file size, open files; the caller kills the whole namespace at the wall-clock limit

The kernel is the wall: whoever can break the kernel from an unprivileged process can break this.
"""

import ctypes
import errno
import json
import os
import platform
import resource
import signal
import struct
import sys
from typing import Any

NEW = {"user": 0x10000000, "mount": 0x00020000, "network": 0x40000000, "process": 0x20000000, "ipc": 0x08000000,
       "host name": 0x04000000}  # fmt: skip
MS_NOSUID, MS_NODEV, MS_BIND, MS_REC, MS_PRIVATE = 2, 4, 4096, 16384, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
ATTR_READ_ONLY, ATTR_NOSUID, ATTR_NODEV = 1, 2, 4
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 1, 38, 22, 2
MOUNT_SETATTR = 442
INSIDE_ID = 1000
OUTPUT_BYTES_MAX = 1 << 20

# io_uring, the new mount calls, memfd_secret: the same numbers everywhere.
_DENIED_EVERYWHERE = [425, 426, 427, 428, 429, 430, 432, 442, 447]
MACHINES: dict[str, dict[str, Any]] = {
    "x86_64": {
        "audit": 0xC000003E, "pivot_root": 155, "clone": 56, "foreign": 0x40000000,
        # shmget, socket, fork, vfork, semget, msgget, ptrace, pivot_root ... kexec, keys, unshare, perf, setns,
        # process_vm, modules, memfd_create, bpf, userfaultfd
        "denied": [
            29, 41, 57, 58, 64, 68, 101, 155, 161, 165, 166, 167, 168, 169, 170, 171, 175, 176, 246, 248, 249, 250, 272,
            298, 304, 308, 310, 311, 312, 313, 319, 320, 321, 323, *_DENIED_EVERYWHERE,
        ],
    },
    "aarch64": {
        "audit": 0xC00000B7, "pivot_root": 41, "clone": 220, "foreign": 0,
        "denied": [
            39, 40, 41, 51, 97, 104, 105, 106, 117, 142, 186, 190, 194, 198, 217, 218, 219, 224, 225, 241, 265, 268,
            270, 271, 272, 273, 279, 280, 282, 294, *_DENIED_EVERYWHERE,
        ],
    },
}  # fmt: skip
"""Per machine: the audit number, the calls we make by number, and what is denied besides new processes."""
CLONE3 = 435
CLONE_THREAD = 0x00010000

libc = ctypes.CDLL(None, use_errno=True)


class Refused(Exception):  # noqa: N818 (what happened)
    """A wall could not be built."""


def checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise Refused(f"{what}: {os.strerror(number)} ({errno.errorcode.get(number, number)})")
    return result


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    encoded = [None if one is None else one.encode() for one in (source, target, kind, data)]
    checked(libc.mount(encoded[0], encoded[1], encoded[2], ctypes.c_ulong(flags), encoded[3]), f"mount {target}")


def attributes(path: str, flags: int, how: int) -> None:
    """Add mount flags to what is mounted at a path, keeping those that are there."""
    wanted = struct.pack("QQQQ", flags, 0, 0, 0)
    made = libc.syscall(MOUNT_SETATTR, AT_FDCWD, path.encode(), how, wanted, len(wanted))
    checked(made, f"mount_setattr {path} (needs Linux 5.12)")


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def separate() -> None:
    """Namespaces of our own, in which we are one ordinary user."""
    uid, gid = os.getuid(), os.getgid()
    flags = 0
    for flag in NEW.values():
        flags |= flag
    checked(libc.unshare(flags), "user namespaces")
    try:
        write("/proc/self/setgroups", "deny")
        write("/proc/self/uid_map", f"{INSIDE_ID} {uid} 1")
        write("/proc/self/gid_map", f"{INSIDE_ID} {gid} 1")
    except OSError as error:
        raise Refused(f"user namespaces: the id map cannot be written: {error.strerror}") from None


def own_root(machine: dict[str, Any], folders: list[str], tmp_bytes: int) -> None:
    """A root in memory with the interpreter read-only and nothing of the host beside it."""
    mount("none", "/", None, MS_REC | MS_PRIVATE)
    mount("root", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")  # noqa: S108 (covered in our view only)
    os.mkdir("/tmp/old")  # noqa: S108
    os.chdir("/tmp")  # noqa: S108
    checked(libc.syscall(machine["pivot_root"], b".", b"old"), "pivot_root")
    os.chdir("/")
    for folder in folders:
        old = "/old" + folder
        if os.path.islink(old):
            os.symlink(os.readlink(old), folder)
        elif os.path.isdir(old):
            os.makedirs(folder, exist_ok=True)
            mount(old, folder, None, MS_BIND | MS_REC)
            attributes(folder, ATTR_READ_ONLY | ATTR_NOSUID | ATTR_NODEV, AT_RECURSIVE)
    os.mkdir("/dev")
    for name in ("null", "zero", "urandom"):
        write(f"/dev/{name}", "")
        mount(f"/old/dev/{name}", f"/dev/{name}", None, MS_BIND)
    os.mkdir("/tmp")  # noqa: S108
    mount("tmp", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"size={tmp_bytes},mode=700")  # noqa: S108
    checked(libc.umount2(b"/old", MNT_DETACH), "umount /old")
    os.rmdir("/old")
    attributes("/", ATTR_READ_ONLY, 0)


def instruction(code: int, yes: int, no: int, value: int) -> bytes:
    return struct.pack("HBBI", code, yes, no, value)


def filter_calls(machine: dict[str, Any]) -> None:
    """Deny new processes and the calls by which sandboxes are left. Threads stay allowed."""
    load, equal, above, masked, end = 0x20, 0x15, 0x35, 0x45, 0x06
    deny, allow, kill = 0x00050000 | errno.EPERM, 0x7FFF0000, 0x80000000
    program = [instruction(load, 0, 0, 4), instruction(equal, 1, 0, machine["audit"]), instruction(end, 0, 0, kill)]
    program.append(instruction(load, 0, 0, 0))
    if machine["foreign"]:  # the x32 numbers of the same calls
        program += [instruction(above, 0, 1, machine["foreign"]), instruction(end, 0, 0, kill)]
    # The C library falls back from clone3, whose arguments cannot be looked at, to clone.
    program += [instruction(equal, 0, 1, CLONE3), instruction(end, 0, 0, 0x00050000 | errno.ENOSYS)]
    for number in machine["denied"]:
        program += [instruction(equal, 0, 1, number), instruction(end, 0, 0, deny)]
    program += [
        instruction(equal, 0, 3, machine["clone"]),
        instruction(load, 0, 0, 16),
        instruction(masked, 1, 0, CLONE_THREAD),
        instruction(end, 0, 0, deny),
        instruction(end, 0, 0, allow),
    ]
    code = b"".join(program)
    kept = ctypes.create_string_buffer(code, len(code))
    fprog = struct.pack("HxxxxxxP", len(program), ctypes.addressof(kept))
    checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")
    checked(libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, fprog, 0, 0), "seccomp")


def limit(job: dict[str, Any]) -> None:
    limits = {
        resource.RLIMIT_CPU: job["cpu_s"], resource.RLIMIT_AS: job["memory_bytes"], resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: job["file_bytes"], resource.RLIMIT_NOFILE: 64,
    }  # fmt: skip
    for name, most in limits.items():
        resource.setrlimit(name, (most, most))


def start(job: dict[str, Any], machine: dict[str, Any], said: list[int]) -> None:
    """In the last child: become the program. Never returns."""
    try:
        for path, text in job["files"].items():
            write(path, text)
        write("/tmp/.stdin", job["stdin"])  # noqa: S108
        os.dup2(os.open("/tmp/.stdin", os.O_RDONLY), 0)  # noqa: S108
        os.dup2(said[0], 1)
        os.dup2(said[1], 2)
        os.dup2(said[2], 3)
        # Closed by the program's start: what stands there was said by this script, not by the program.
        os.dup2(said[3], 4, inheritable=False)
        os.closerange(5, 4096)
        os.chdir("/tmp")  # noqa: S108
        limit(job)
        filter_calls(machine)
        os.execve(job["argv"][0], job["argv"], {"PATH": "/usr/bin:/bin", "HOME": "/tmp", "LANG": "C.UTF-8"})  # noqa: S108, S606
    except (Refused, OSError, ValueError) as error:
        os.write(4, str(error).encode())
    finally:
        os._exit(70)


def read_back(descriptor: int) -> str:
    return os.pread(descriptor, OUTPUT_BYTES_MAX, 0).decode("utf-8", "replace")


def inside(job: dict[str, Any], machine: dict[str, Any]) -> dict[str, Any]:
    """Process 1 of the new namespace: builds the walls, starts the program, reports."""
    own_root(machine, job["folders"], job["tmp_bytes"])
    said = []
    for name in ("out", "err", "sign", "refused"):
        path = f"/tmp/.{name}"  # noqa: S108
        said.append(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        os.unlink(path)
    child = os.fork()
    if child == 0:
        start(job, machine, said)
    _, status = os.waitpid(child, 0)
    out, err, sign, refused = (read_back(one) for one in said)
    if refused:
        raise Refused(refused)
    return {"code": os.waitstatus_to_exitcode(status), "out": out, "err": err, "sign": sign}


def main() -> None:
    try:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        job = json.load(sys.stdin)
        machine = MACHINES.get(platform.machine())
        if machine is None:
            raise Refused(f"system calls of a {platform.machine()} machine are not known here")
        separate()
        child = os.fork()
        if child == 0:
            libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            try:
                report = inside(job, machine)
            except (Refused, OSError) as error:
                report = {"refused": str(error)}
            os.write(1, json.dumps(report).encode())
            os._exit(0)
        os.waitpid(child, 0)
    except (Refused, OSError) as error:
        print(json.dumps({"refused": str(error)}))  # noqa: T201 (the report)
    sys.stdout.flush()


if __name__ == "__main__":
    main()
