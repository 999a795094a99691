"""`kill -9` of a running trial: nothing is paid twice, and the verdict is the one of an uninterrupted run."""

import os
import random
import signal
import subprocess
from pathlib import Path

import pytest

from tests.fakes.provider import Script
from tests.trials.live import Store, live_store, well

CONCURRENCY = 8
ARGUMENTS = (
    "trial",
    "run",
    "--route",
    "assistant",
    "--candidate",
    "new",
    "--margin",
    "0.1",
    "--concurrency",
    str(CONCURRENCY),
)


def _killed_runs(store: Store, kills: int, draw: random.Random) -> int:
    """Start the trial and kill it at a random number of finished replays, `kills` times. Returns kills that hit."""
    hits = 0
    for _ in range(kills):
        stop_at = store.provider.asked("new-model") + draw.randrange(1, 30)
        process = subprocess.Popen(
            store.command(*ARGUMENTS), env=store.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        while process.poll() is None and store.provider.asked("new-model") < stop_at:
            try:
                process.wait(0.002)
            except subprocess.TimeoutExpired:
                continue
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
            hits += 1
        process.wait()
    return hits


def _rule(model: str, prompt: str) -> Script:
    """Slow enough to be killed in the middle, wrong now and then so that a verdict takes long."""
    script = well(model, prompt)
    if model == "new-model":
        script.delay_s = 0.01
        if int(prompt.rsplit(" ", 1)[1]) % 23 == 0:
            script.text = "no idea"
    return script


def _check(folder: Path, kills: int, seed: int) -> None:
    with live_store(folder / "a", 200) as original:
        whole = original.copy(folder / "whole")
        whole.provider.rule = _rule
        expected = whole.trial("new", "--margin", "0.1", "--concurrency", str(CONCURRENCY), code=None)
        alone = whole.provider.asked("new-model")
        broken = original.copy(folder / "broken")
        broken.provider.rule = _rule
        hits = _killed_runs(broken, kills, random.Random(seed))
        assert hits > 0
        verdict = broken.trial("new", "--margin", "0.1", "--concurrency", str(CONCURRENCY), code=None)
        assert verdict.trial == expected.trial
        assert verdict.verdicts == expected.verdicts
        assert verdict.overall == expected.overall
        # Paid again is at most what was in flight at each kill; ahead of the decision runs at most the look-ahead.
        again = sum(count - 1 for (model, _), count in broken.provider.calls.items() if model == "new-model")
        assert again <= hits * CONCURRENCY
        assert broken.provider.asked("new-model") <= alone + hits * CONCURRENCY + 3 * CONCURRENCY
        first, second = whole.evidence(expected), broken.evidence(verdict)
        assert [pair.item for pair in second.pairs] == [pair.item for pair in first.pairs]
        assert all(pair.replay_digest is not None for pair in second.pairs)


def test_a_trial_killed_at_random_moments_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    _check(tmp_path, kills=2, seed=1)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(10))
def test_a_trial_killed_many_times_ends_as_if_it_had_not_been(tmp_path: Path, seed: int) -> None:
    _check(tmp_path, kills=6, seed=seed)
