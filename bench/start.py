"""How long `weighbridge serve` takes to be ready, and what CPU time that costs.

    scripts/bench start [--starts N]

Each start is a new process tree: command line, supervisor, keeper, one worker. `fresh` starts on a new store (the price
book is loaded), `again` on the store of the start before it. Wall time says as much about the machine as about the
code; CPU time (user + system, whole tree, until ready) says more on a busy one.
"""

import argparse
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.harness.processes import environment_with_bytecode

CONFIG = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[[endpoint]]
name = "openai"
base_url = "https://api.openai.com/v1"
provider = "openai"
[[arm]]
name = "gpt-4o"
endpoint = "openai"
model = "gpt-4o-2024-08-06"
[[route]]
name = "assistant"
incumbent = "gpt-4o"
[[key]]
name = "app"
secret = "file:app.key"
"""

HERTZ = os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """Of a process and its children that live."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / HERTZ + sum(cpu_s(int(child)) for child in children)


def one_start(folder: Path) -> tuple[float, float]:
    began = time.perf_counter()
    serve = subprocess.Popen(
        [sys.executable, "-m", "weighbridge", "serve", "--config", "weighbridge.toml"],
        cwd=folder,
        stderr=subprocess.PIPE,
        text=True,
        env=environment_with_bytecode(),
    )
    assert serve.stderr is not None
    for line in serve.stderr:
        if re.search(r"serve: ready on", line):
            break
    else:
        raise SystemExit("serve did not become ready")
    wall = time.perf_counter() - began
    used = cpu_s(serve.pid)
    serve.send_signal(signal.SIGTERM)
    serve.stderr.read()
    serve.wait()
    return wall, used


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=7, help="starts of each kind")
    starts = parser.parse_args().starts
    rows: dict[str, list[tuple[float, float]]] = {"fresh": [], "again": []}
    for _ in range(starts):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "weighbridge.toml").write_text(CONFIG)
            (folder / "app.key").write_text("wb-bench")
            rows["fresh"].append(one_start(folder))
            rows["again"].append(one_start(folder))
    print(f"{starts} starts each, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    for kind, found in rows.items():
        walls, cpus = zip(*found, strict=True)
        print(
            f"{kind:<6} ready after {min(walls):.2f} s (best), {statistics.median(walls):.2f} s (median); "
            f"CPU {min(cpus):.2f} s (best), {statistics.median(cpus):.2f} s (median)"
        )


if __name__ == "__main__":
    main()
