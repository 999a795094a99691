"""The README's five steps, taken from the README itself: what it tells a new user to do works, to the word.

Three things differ: the provider is one on this machine, ports are free ones, and the margin is wider so that the trial
needs a hundred requests and not four hundred.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import openai
import pytest

from tests.app.serving import serving
from tests.fakes.provider import FakeProvider, Script
from weighbridge.config import load
from weighbridge.records.canonical import parse
from weighbridge.records.evidence import Verdict

README = (Path(__file__).resolve().parents[2] / "README.md").read_text("utf-8")
REQUESTS = 110


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def command(beginning: str) -> list[str]:
    """The arguments of the README's one command that begins so."""
    lines = {line.partition("#")[0].strip() for block in blocks("sh") for line in block.splitlines()}
    [found] = [line for line in lines if line.startswith(f"weighbridge {beginning}")]
    return shlex.split(found)[1:]


class Newcomer:
    """Runs the README's commands in a fresh folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "OPENAI_API_KEY": "sk-the-providers-own-key"}

    def run(self, beginning: str, *more: str, code: int = 0) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "weighbridge", *command(beginning), *more],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert code == done.returncode, f"{beginning}: {done.stdout}\n{done.stderr}"
        return done.stdout


def table(block: str, heading: str) -> str:
    """One table of a TOML block, its heading included."""
    [found] = [part for part in re.split(r"\n(?=\[\[)", block) if part.startswith(heading)]
    return found.strip() + "\n"


def edited(text: str, upstream: str) -> str:
    """The configuration after step 2."""
    [block] = blocks("toml")
    text = text.replace("https://api.openai.com/v1", upstream).replace("127.0.0.1:840", "127.0.0.1:0#")
    text = re.sub(r'"127\.0\.0\.1:0#\d"', '"127.0.0.1:0"', text)
    text = text.replace("bodies = false", "bodies = true")
    text = text.replace('#purpose = "', 'purpose = "').replace('#approved_by = "', 'approved_by = "')
    route = table(block, "[[route]]")
    [candidates] = re.findall(r"^candidates = .*$", route, re.MULTILINE)
    [slice_by] = re.findall(r"^slice_by = .*$", route, re.MULTILINE)
    text = re.sub(r"^candidates = .*$", f"{candidates}\n{slice_by}", text, flags=re.MULTILINE)
    added = [table(block, heading) for heading in ("[[endpoint]]", "[[arm]]", "[[grader]]")]
    return text + "\n" + "\n".join(added).replace("http://127.0.0.1:8000/v1", upstream)


@pytest.fixture
def provider() -> FakeProvider:
    models = ("gpt-4o-2024-08-06", "Qwen2.5-72B-Instruct")
    return FakeProvider(answers={model: Script(text="It is about delivery.") for model in models})


def test_the_five_steps_of_the_readme_lead_to_a_verdict_and_a_report(tmp_path: Path, provider: FakeProvider) -> None:
    newcomer = Newcomer(tmp_path)
    with provider:
        # 1
        said = newcomer.run("init")
        [client_key] = re.findall(r"wb-\S+", said)
        config = tmp_path / "weighbridge.toml"
        # 2
        config.write_text(edited(config.read_text(), provider.url))
        assert "fail" not in newcomer.run("doctor")
        # 3
        with serving(config, newcomer.environment) as gateway:
            client = openai.OpenAI(base_url=f"http://{gateway.ready().listen}/v1", api_key=client_key)
            for number in range(REQUESTS):
                asked = client.chat.completions.create(
                    model="gpt-4o-2024-08-06",
                    messages=[{"role": "user", "content": f"Where is parcel {number}?"}],
                    extra_headers={"x-weighbridge-tag": "task=refund"},
                )
                assert "It is about delivery." == asked.choices[0].message.content
            # 4
            rows = [{"prompt": f"Where is parcel {number}?", "answer": "delivery"} for number in range(REQUESTS)]
            (tmp_path / "gold.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
            newcomer.run("gold import")
            newcomer.run("trial quote", "--margin", "0.1")
            verdict = parse(newcomer.run("trial run", "--margin", "0.1", "--json").encode(), Verdict)
        # 5
        newcomer.run("report")
        newcomer.run("verify")
    assert [("task=refund", "non_inferior")] == [(row.slice, row.verdict) for row in verdict.verdicts]
    report = (tmp_path / "report" / "index.html").read_text("utf-8")
    assert "qwen-72b" in report
    assert "http://" not in re.sub(r"http://www\.w3\.org\S*", "", report)  # it loads nothing from anywhere


def test_the_readme_shows_a_configuration_that_loads_as_it_is_read(tmp_path: Path) -> None:
    newcomer = Newcomer(tmp_path)
    newcomer.run("init")
    config = tmp_path / "weighbridge.toml"
    config.write_text(edited(config.read_text(), "http://127.0.0.1:8000/v1"))
    [route] = load(config).config.route
    shown = tomllib.loads(blocks("toml")[0])["route"][0]
    assert shown == {
        "name": route.name,
        "aliases": list(route.aliases),
        "incumbent": route.incumbent,
        "candidates": list(route.candidates),
        "slice_by": list(route.slice_by),
    }
