"""A store with something on every page, made through public functions: traffic, imports, trials, ramps.

Answers are a fake provider's; everything that is logged, judged, decided and moved is the product's own doing.
"""

import json
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.app.serving import Serving, serving
from tests.fakes.provider import Script
from tests.trials.live import SECRET, Store, live_store, well

HOSTILE = "<img src=x onerror=document.title='owned'><script>document.title='owned'</script>"
"""Stands in prompts, answers, names and reasons; a page that let it through would change its title."""

HISTORY_DAYS = 63
REQUESTS = 130
KNOWN_JUDGED = 24

CONFIG = """
[server]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
[store]
path = "store"
[capture]
bodies = true
purpose = "trials"
approved_by = "the privacy office"
[organization]
roles = ["product"]
commercial = true
established_in = ["DE"]
users_in = ["DE", "US"]
[[endpoint]]
name = "host"
base_url = "{url}"
[[arm]]
name = "old"
endpoint = "host"
model = "old-model"
weights = "closed"
price = {{ input = "5.00", output = "15.00" }}
[[arm]]
name = "new"
endpoint = "host"
model = "new-model"
weights = "open"
terms = "Apache-2.0"
price = {{ input = "1.00", output = "2.00" }}
[[arm]]
name = "banana"
endpoint = "host"
model = "banana-model"
weights = "open"
terms = "llama-3.1"
price = {{ input = "0.20", output = "0.40" }}
[[arm]]
name = "judge-one"
endpoint = "host"
model = "qwen-judge"
price = {{ input = "1.00", output = "2.00" }}
[[arm]]
name = "judge-two"
endpoint = "host"
model = "llama-judge"
price = {{ input = "1.00", output = "2.00" }}
[[route]]
name = "assistant"
incumbent = "old"
candidates = ["new", "banana"]
slice_by = ["tag:task"]
budget = "support"
[[route]]
name = "letters"
incumbent = "old"
candidates = ["new"]
slice_by = ["tag:task"]
budget = "research"
[[grader]]
route = "assistant"
kind = "number"
extract = "last_number"
[[grader]]
route = "letters"
kind = "judge"
judges = ["judge-one", "judge-two"]
[[budget]]
name = "company"
limit_usd = "400"
hard = true
[[budget]]
name = "support"
parent = "company"
limit_usd = "120"
[[budget]]
name = "research"
parent = "company"
limit_usd = "0.001"
[[team]]
name = "support"
[[key]]
name = "app"
team = "support"
secret = "env:LIVE_TEST_KEY"
[[ramp]]
route = "*"
hold_s = {{ shadow = 0, canary = 1, few = 1, quarter = 1, half = 1, all = 1 }}
"""


def answers(model: str, prompt: str) -> Script:
    """Models know what they are asked; judges find the answer without a banana better."""
    if not model.endswith("-judge"):
        if prompt.startswith("write"):
            return Script(text=f"A letter {HOSTILE} by {model}")
        return well(model, prompt)
    pair = json.loads(prompt)
    right = ["new-model" in pair[place] for place in ("first", "second")]
    word = "tie" if right[0] == right[1] else "first" if right[0] else "second"
    return Script(text=json.dumps({"better": word}))


def history(file: Path, now: datetime) -> None:
    """Two months of an application's own log: some dollars a day, growing, lately a part of it on the open model."""
    pick = random.Random(7)
    lines = []
    for day in range(HISTORY_DAYS, 0, -1):
        at = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=day)
        many = (8 if at.weekday() >= 5 else 14) + (HISTORY_DAYS - day) // 12
        for number in range(many):
            opened = day < 24 and pick.random() < (24 - day) / 40
            model = "new-model" if opened else "old-model"
            asked, said = pick.randrange(12_000, 30_000), pick.randrange(500, 3_000)
            time = at + timedelta(seconds=86_400 * (number + pick.random()) / many)
            usage = {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}
            lines.append(
                json.dumps({
                    "time": time.isoformat(), "team": pick.choice(["support", "research"]),
                    "user": f"user-{pick.randrange(9)}", "latency_ms": pick.randrange(300, 2500),
                    "request": {"model": model, "messages": [{"role": "user", "content": f"case {day}-{number}"}]},
                    "response": {"model": model, "choices": [{"message": {"role": "assistant", "content": "done"},
                                 "finish_reason": "stop"}], "usage": usage},
                })
            )  # fmt: skip
    file.write_text("\n".join(lines) + "\n")


@dataclass
class Demo:
    store: Store
    certified: str
    """The trial that found `new` as good on `assistant`."""
    worse: str
    judged: str
    """The trial of `letters`, which people may label."""


@contextmanager
def demo_store(folder: Path) -> Iterator[Demo]:
    with live_store(folder, REQUESTS, CONFIG) as store:
        store.provider.rule = answers
        _letters(store)
        certified = store.trial("new", "--margin", "0.1", code=None)
        worse = store.trial("banana", "--margin", "0.1", code=None)
        text = store.run("trial", "run", "--route", "letters", "--candidate", "new", "--json", code=None)
        judged = json.loads(text)
        history(folder / "history.jsonl", datetime.now(UTC))  # last: nobody has the right answers of these
        store.run("exchanges", "import", str(folder / "history.jsonl"), "--route", "assistant")
        assert certified.trial is not None
        assert worse.trial is not None
        yield Demo(store, certified.trial, worse.trial, judged["trial"])


def _letters(store: Store) -> None:
    import asyncio

    from weighbridge.app import gateway_of
    from weighbridge.config import load
    from weighbridge.upstream import Client

    async def send(base_url: str) -> None:
        async with Client(base_url) as client:
            for number in range(KNOWN_JUDGED):
                content = f"write a letter about case {number} {HOSTILE}"
                body = {"model": "letters", "messages": [{"role": "user", "content": content}], "max_tokens": 60}
                headers = [
                    (b"content-type", b"application/json"), (b"authorization", b"Bearer " + SECRET.encode()),
                    (b"x-weighbridge-tag", b"task=<i>letter</i>"),
                ]  # fmt: skip
                reply = await client.post("/chat/completions", headers, json.dumps(body).encode(), 30.0)
                assert reply.status == 200, reply.body

    with gateway_of(load(store.config)) as gateway:
        asyncio.run(send(gateway.base_url))


@contextmanager
def demo_served(demo: Demo) -> Iterator[Serving]:
    """The same with `weighbridge serve` running."""
    with serving(demo.store.config, {"LIVE_TEST_KEY": SECRET}) as served:
        yield served
