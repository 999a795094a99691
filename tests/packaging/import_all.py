"""Imports every module of the package named on the command line, and prints as JSON what those imports tried to do.

A program of its own, since an audit hook stays until its process ends.
"""

import importlib
import json
import os
import pkgutil
import sys

NEVER = (
    "socket.bind", "socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request",
    "subprocess.Popen", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.system", "pty.spawn",
    "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.kill", "signal.pthread_kill", "webbrowser.open",
)  # fmt: skip
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

imported: list[str] = []
did: list[tuple[str, str, str]] = []
importing = ""


def watch(event: str, arguments: tuple[object, ...]) -> None:
    if event in NEVER:
        did.append((importing, event, repr(arguments)[:200]))
    elif event == "open":
        file, mode, flags = arguments
        if file != os.devnull and isinstance(flags, int) and flags & WRITES:
            did.append((importing, event, f"{file!r} {mode!r}"))


def load(name: str) -> None:
    """Import one module, then whatever lies in it. A `__main__` is a program: running it is its purpose."""
    global importing
    importing = name
    imported.append(name)
    module = importlib.import_module(name)
    for found in sorted(pkgutil.iter_modules(getattr(module, "__path__", []), f"{name}."), key=lambda each: each.name):
        if not found.name.endswith(".__main__"):
            load(found.name)


if __name__ == "__main__":
    sys.addaudithook(watch)
    load(sys.argv[1])
    print(json.dumps({"imported": imported, "did": did}))
