"""Five faults in a running gateway, each found and mended from its alert and runbook alone.

    scripts/bench faults              walks them, prints what was seen
    scripts/bench faults --write      also docs/evidence/faults.md

Somebody who knows nothing of the fault asks `weighbridge alerts` until it says something, prints the runbook that it
names, and from then on runs only commands that stand in it, letter for letter but for names in capitals. Each must show
what the runbook says it shows; the alert must end, or the runbook's own sign of the end must come.
"""

import argparse
import contextlib
import json
import re
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.app.serving import ask, serving
from tests.fakes.provider import FakeProvider, Script
from tests.keeper.processes import write_config
from tests.ramp.desk import RAMP, climb_to

REPOSITORY = Path(__file__).resolve().parent.parent
EVIDENCE = REPOSITORY / "docs" / "evidence" / "faults.md"
WAIT_S_MAX = 120.0
QUIET_S_MAX = 400.0
"""`budget-refuses` ends five minutes after the last refusal."""


@dataclass
class Operator:
    """Runs what the runbook prints, and writes down what came of it."""

    config: Path
    alert: str
    names: Mapping[str, str]
    """What stands in capitals in the runbook -> what it is here, out of the alert."""
    text: str = ""
    did: list[str] = field(default_factory=list)

    def run(self, command: str) -> tuple[int, str]:
        words = shlex.split(command)
        if words[0] == "weighbridge":
            words = [sys.executable, "-m", *words, "--config", str(self.config)]
        ran = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=300)
        return ran.returncode, ran.stdout + ran.stderr

    def said(self) -> dict[str, list[dict[str, object]]]:
        found: dict[str, list[dict[str, object]]] = json.loads(self.run("weighbridge alerts --json")[1])
        return found

    def is_raised(self) -> bool:
        return any(one["alert"] == self.alert for one in self.said()["raised"])

    def told(self) -> float:
        """Wait for the alert and read its runbook. Seconds it took."""
        began = time.monotonic()
        while not any(one["alert"] == self.alert for rows in self.said().values() for one in rows):
            if time.monotonic() - began > WAIT_S_MAX:
                raise SystemExit(f"{self.alert} was not raised within {WAIT_S_MAX:.0f} s")
            time.sleep(0.5)
        took = time.monotonic() - began
        code, self.text = self.run(f"weighbridge alerts {self.alert}")
        if code:
            raise SystemExit(f"the runbook of {self.alert} cannot be printed: {self.text}")
        return took

    def does(self, printed: str, shows: str, *, more: str = "") -> None:
        """Run a command that the runbook prints; `shows`: what its output must have. more: options beside it."""
        if printed not in self.text:
            raise SystemExit(f"the runbook of {self.alert} does not print `{printed}`")
        command = printed
        for name, value in self.names.items():
            command = re.sub(rf"\b{name}\b", value, command)
        code, said = self.run(f"{command} {more}".strip())
        line = next((line.strip() for line in said.splitlines() if re.search(shows, line)), None)
        if line is None:
            raise SystemExit(f"{self.alert}: `{command}` does not show {shows!r}:\n{said}")
        self.did.append(f"`{printed}` (exit code {code}): `{_short(line, self.config)}`")

    def by_hand(self, printed: str, said: str) -> None:
        """Something outside of the product, which the runbook asks for in words."""
        if printed not in " ".join(self.text.split()):
            raise SystemExit(f"the runbook of {self.alert} does not say {printed!r}")
        self.did.append(f"by hand, as it says “{printed}”: {said}")

    def over(self, most_s: float, users: Callable[[], object] = lambda: None) -> float:
        """Wait until the alert is not raised any more, while users go on asking. Seconds it took."""
        began = time.monotonic()
        while time.monotonic() - began < most_s:
            users()
            if not self.is_raised():
                return time.monotonic() - began
            time.sleep(0.5)
        raise SystemExit(f"{self.alert} did not end within {most_s:.0f} s of being mended")


def _short(line: str, config: Path) -> str:
    """Without this machine's paths and with no mark that would end the code around it."""
    return " ".join(line.replace(str(config.parent), "FOLDER").replace("`", "'").split())[:220]


@dataclass(frozen=True)
class Walked:
    fault: str
    alert: str
    told_s: float
    did: tuple[str, ...]
    over: str


def upstream_down(folder: Path) -> Walked:
    with FakeProvider() as first:
        port = first.port
        file = write_config(folder, first.url)
    operator = Operator(file, "upstream-down", {"ROUTE": "assistant", "NAME": "provider"})
    with serving(file) as served:
        for _ in range(8):
            ask(served.listen)
        told = operator.told()
        operator.does("weighbridge doctor", r"endpoint provider.*(refused|no answer|cannot)")
        operator.does("weighbridge exchanges list --route ROUTE --outcome upstream_error --limit 10", r"upstream_error")
        with FakeProvider(port=port):
            operator.by_hand("the server is down, or the network to it", "the server is started again")
            over = operator.over(QUIET_S_MAX, lambda: [ask(served.listen) for _ in range(3)])
    return Walked("upstream down", operator.alert, told, tuple(operator.did), f"the alert ended {over:.0f} s later")


BUDGET = '\n[[budget]]\nname = "support"\nlimit_usd = "0.0001"\nwindow = "month"\nhard = true\n'


def budget_gone(folder: Path) -> Walked:
    with FakeProvider() as provider:
        file = write_config(folder, provider.url)
        text = file.read_text().replace('secret = "file:app.key"', 'secret = "file:app.key"\nbudget = "support"')
        file.write_text(text + BUDGET)
        operator = Operator(file, "budget-refuses", {})
        with serving(file) as served:
            for _ in range(5):
                ask(served.listen)
            told = operator.told()
            operator.does("weighbridge exchanges list --outcome refused --limit 5", r"does not cover this request")
            operator.does("weighbridge budget status", r"support")
            file.write_text(file.read_text().replace("0.0001", "10.00"))
            operator.by_hand("raise `limit_usd` of the `[[budget]]` in the configuration", "from 0.0001 to 10.00")
            operator.does("weighbridge reload", r"route table \d+")
            if ask(served.listen).status != 200:
                raise SystemExit("budget-refuses: requests do not pass after the reload")
            over = operator.over(QUIET_S_MAX)
    end = f"the next request was answered; the alert ended {over:.0f} s later, five minutes after the last refusal"
    return Walked("budget gone", operator.alert, told, tuple(operator.did), end)


@contextmanager
def _small_disk(folder: Path) -> Iterator[None]:
    folder.mkdir(mode=0o700)
    mount = ["mount", "-t", "tmpfs", "-o", "size=64m,mode=0700", "small", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        raise SystemExit("disk full: this user may not mount a small disk; run it as root")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def disk_full(folder: Path) -> Walked:
    with FakeProvider() as provider:
        file = write_config(folder, provider.url)
        store = folder / "weighbridge-data"
        with _small_disk(store), serving(file) as served:
            waste = store / "core"
            with contextlib.suppress(OSError), waste.open("wb", buffering=0) as out:
                while out.write(bytes(1 << 16)):
                    pass
            operator = Operator(file, "disk-full", {"STORE": str(store)})
            while ask(served.listen).status == 200:
                pass
            told = operator.told()
            operator.does("df -h STORE", r"100%")
            largest = _largest(store)
            operator.by_hand("`du -sh STORE/*` says which part grew", f"{largest}, a core file that has no place there")
            waste.unlink()
            operator.by_hand(
                "Free space outside the store first: other logs, old backups, core files.", "it is removed"
            )
            over = operator.over(QUIET_S_MAX)
            if ask(served.listen).status != 200:
                raise SystemExit("disk-full: requests do not pass with room again")
            operator.does("weighbridge verify", r"intact|nothing is missing|no problem|0 problems|verified")
    return Walked("disk full", operator.alert, told, tuple(operator.did), f"the alert ended {over:.0f} s later")


def _largest(store: Path) -> str:
    sizes = {path.name: path.stat().st_size for path in store.iterdir() if path.is_file()}
    name = max(sizes, key=lambda one: sizes[one])
    return f"`{name}`, {sizes[name] / 2**20:.0f} MiB"


def bad_price(folder: Path) -> Walked:
    with FakeProvider() as provider:
        file = write_config(folder, provider.url)
        good = file.read_text()
        operator = Operator(file, "price-implausible", {})
        with serving(file):
            file.write_text(good.replace('input = "1", output = "2"', 'input = "0.000001", output = "0.000002"'))
            operator.run("weighbridge reload")
            told = operator.told()
            operator.does("weighbridge doctor", r"price incumbent")
            operator.does("weighbridge price show", r"incumbent")
            file.write_text(good)
            operator.by_hand("In the configuration: the arm's `price`", "per million tokens again")
            operator.does("weighbridge reload", r"route table \d+")
            over = operator.over(QUIET_S_MAX)
    return Walked("bad price", operator.alert, told, tuple(operator.did), f"the alert ended {over:.0f} s later")


def ramp_back(folder: Path) -> Walked:
    with FakeProvider() as provider:
        file = write_config(folder, provider.url)
        file.write_text(file.read_text() + RAMP.replace("= 60", "= 0"))
        climb_to("half", file)
        operator = Operator(file, "ramp-rolled-back", {"ROUTE": "assistant", "CANDIDATE": "candidate"})
        with serving(file) as served:
            provider.answers["model-b"] = Script(status=500)
            for number in range(600):
                ask(served.listen, conversation=f"c-{number}")
                if number > 40 and number % 20 == 0 and any(operator.said().values()):
                    break
            told = operator.told()
            operator.does("weighbridge ramp history ROUTE", r"errors")
            operator.does("weighbridge doctor", r"endpoint provider")
            operator.does("weighbridge exchanges list --arm CANDIDATE --limit 50", r"500|upstream_error")
            served_by = {ask(served.listen, conversation=f"d-{number}").arm for number in range(30)}
            if served_by != {"incumbent"}:
                raise SystemExit(f"ramp-rolled-back: users are served by {served_by}")
            provider.answers.clear()
            operator.by_hand("Mend the cause at the candidate", "its server answers again")
            operator.does("weighbridge ramp status ROUTE", r"rolled.back")
    end = "users had been on the incumbent all along; nothing was open. A new trial and ramp are not part of this walk"
    return Walked("ramp rolled back", operator.alert, told, tuple(operator.did), end)


FAULTS: tuple[Callable[[Path], Walked], ...] = (upstream_down, budget_gone, disk_full, bad_price, ramp_back)


def page(walks: list[Walked]) -> str:
    lines = [
        "# Five faults, from the alert to the end",
        "",
        "Made by `scripts/bench faults --write`: a real `weighbridge serve` beside a provider that fails on demand, on",
        "two cores with other work. After the fault nothing is used but `weighbridge alerts` and the runbook that it",
        "names; each command below stands in that runbook letter for letter (names in capitals are filled in from the",
        "alert), and had to show the line beside it.",
        "",
        "| fault | alert | told after | it was over |",
        "|---|---|---|---|",
        *(
            f"| {one.fault} | [{one.alert}](../runbooks/{one.alert}.md) | {one.told_s:.0f} s | {one.over} |"
            for one in walks
        ),
    ]
    for one in walks:
        lines += ["", f"## {one.fault.capitalize()}", "", *(f"{n}. {did}" for n, did in enumerate(one.did, 1))]
    return "\n".join([*lines, ""])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=[one.__name__ for one in FAULTS], help="one of them")
    parser.add_argument("--write", action="store_true", help="also write docs/evidence/faults.md")
    options = parser.parse_args()
    walks = []
    for fault in FAULTS:
        if options.only in (None, fault.__name__):
            with tempfile.TemporaryDirectory(prefix="weighbridge-faults-") as folder:
                walks.append(fault(Path(folder) / "a"))
    text = page(walks)
    print(text)
    if options.write:
        EVIDENCE.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
