"""Made-up traffic for trials: exchanges with bodies in memory, a configuration, plans."""

import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

import msgspec

from weighbridge.config import Loaded, loads
from weighbridge.grading.answers import Answer
from weighbridge.grading.book import GraderBook, grade
from weighbridge.grading.gold import GoldBook, read_gold
from weighbridge.records.exchange import Attempt, BodyState, Exchange
from weighbridge.records.frames import Asked, BodyRef, Outcome, Purpose
from weighbridge.records.usage import Usage
from weighbridge.trials.frame import Frame, Item, build_frame
from weighbridge.trials.outcome import Scores
from weighbridge.trials.plan import Settings, TrialPlan
from weighbridge.trials.prepare import planned

CONFIG = """
[[endpoint]]
name = "host"
base_url = "http://127.0.0.1:9/v1"
[[arm]]
name = "old"
endpoint = "host"
model = "old-model"
weights = "closed"
[[arm]]
name = "new"
endpoint = "host"
model = "new-model"
weights = "open"
terms = "Apache-2.0"
price = { input = "1.00", output = "2.00" }
[[route]]
name = "assistant"
aliases = ["gpt"]
incumbent = "old"
candidates = ["new"]
slice_by = ["tag:task"]
"""
EXACT = '[[grader]]\nroute = "assistant"\nkind = "exact"\n'


def config(graders: str = EXACT) -> Loaded:
    return loads(CONFIG + graders, folder=Path("/nonexistent"))


class Traffic:
    """Exchanges as the log would give them, and their bodies."""

    def __init__(self) -> None:
        self.exchanges: list[Exchange] = []
        self.bodies: dict[bytes, BodyState] = {}
        self.gold_lines: list[bytes] = []

    def ask(
        self,
        task: str = "sum",
        answer: str = "right",
        *,
        gold: str | None = "right",
        conversation: str | None = None,
        arm: str = "old",
        outcome: Outcome = "ok",
        purpose: Purpose = "user",
        bodies: bool = True,
        redacted: bool = False,
        tags: Sequence[tuple[str, str]] = (),
        model: str = "old-model",
        request: bytes | None = None,
        response: bytes | None = None,
        cost_nanousd: int | None = 3000,
        max_tokens: int | None = None,
        route: str = "assistant",
        path: Asked = "openai",
    ) -> Exchange:
        number = len(self.exchanges)
        prompt = f"{task} question {number}"
        if gold is not None:
            self.gold_lines.append(json.dumps({"prompt": prompt, "answer": gold}).encode())
        asked = json.dumps({"model": "gpt", "messages": [{"role": "user", "content": prompt}]}).encode()
        said = json.dumps({"choices": [{"message": {"content": answer}, "finish_reason": "stop"}]}).encode()
        exchange = Exchange(
            id=f"{0:016x}-{number:x}",
            time_ns=1_764_000_000_000_000_000 + number * 1_000_000_000,
            purpose=purpose,
            route=route,
            arm=arm,
            key="k",
            team=None,
            user=None,
            tags=(("task", task), *tags),
            slice=f"task={task}",
            conversation=conversation or f"c{number}",
            table=1,
            stream=False,
            outcome=outcome,
            status=200,
            attempts=(Attempt(attempt=1, arm=arm, endpoint="host", model=model),),
            usage=Usage(input=100, output=10),
            cost_nanousd=cost_nanousd,
            price_version=None,
            duration_ns=600_000_000,
            first_byte_ns=None,
            request_bytes=len(asked),
            response_bytes=len(said),
            max_tokens=max_tokens,
            held_nanousd=None,
            request=self._keep(request if request is not None else asked) if bodies else None,
            response=self._keep(response if response is not None else said) if bodies else None,
            trial=None,
            item=None,
            error=None,
            digest=f"{number:064x}",
            redacted=redacted,
            asked=path,
        )
        self.exchanges.append(exchange)
        return exchange

    def _keep(self, body: bytes) -> BodyRef:
        ref = BodyRef(day="2026-11-25", team="-", commitment=len(self.bodies).to_bytes(32, "big"), size=len(body))
        self.bodies[ref.commitment] = body
        return ref

    def body(self, ref: BodyRef) -> BodyState:
        return self.bodies.get(ref.commitment)

    @property
    def gold(self) -> GoldBook:
        return GoldBook([read_gold("gold", self.gold_lines)] if self.gold_lines else [])

    def frame(self, loaded: Loaded | None = None, only_slice: str | None = None) -> Frame:
        graders = GraderBook(loaded or config(), "assistant")
        return build_frame(self.exchanges, "assistant", config().arm("old"), graders, self.gold, self.body, only_slice)

    def plan(
        self,
        settings: Settings | None = None,
        loaded: Loaded | None = None,
        earlier: Iterable[TrialPlan] = (),
    ) -> tuple[TrialPlan, dict[str, Item]]:
        loaded = loaded or config()
        settings = settings or asked()
        frame = self.frame(loaded, settings.only_slice)
        graders = GraderBook(loaded, "assistant")
        plan = planned(
            frame,
            loaded.config.route[0],
            loaded.arm_identity(settings.candidate),
            graders,
            (),
            settings,
            1,
            list(earlier),
            7,
        )
        return plan, {item.id: item for item in frame.items}


def asked(margin: float = 0.1, alpha: float = 0.05, seed: int = 0) -> Settings:
    return Settings(route="assistant", candidate="new", margin=margin, alpha=alpha, seed=seed)


def with_settings(settings: Settings, **changes: object) -> Settings:
    return msgspec.structs.replace(settings, **changes)


def judged_by(loaded: Loaded, traffic: Traffic) -> Callable[[Item, Answer], Awaitable[Scores]]:
    """A judge with the configured graders."""
    graders = GraderBook(loaded, "assistant")

    async def judge(item: Item, answer: Answer) -> Scores:
        from weighbridge.grading.answers import question_of

        row, body = graders.of(item.slice), traffic.body(item.request)
        assert row is not None
        assert isinstance(body, bytes)
        found = grade(row, answer, item.reference, question_of(body))
        return Scores(incumbent=item.incumbent, candidate=found.score, note=found.note)

    return judge
