"""Tasks and ramps in sentences: what users got, who moved them, and why they came back."""

from weighbridge.grading.outcomes import TaskFigures
from weighbridge.ramp.story import RampStep, RampStory
from weighbridge.reports import words
from weighbridge.reports.model import RouteReport


def tasks_of(route: RouteReport) -> list[str]:
    """One line an arm."""
    return [_task(row) for row in route.tasks]


def _task(row: TaskFigures) -> str:
    who = row.arm if row.arm is not None else "several arms together"
    said = f"{who}: {words.count(row.tasks, 'task')}, {_money(row.cost_per_task_nanousd)} each"
    if row.success_rate is None or row.success_interval is None:
        return said
    low, high = (words.percent(end) for end in row.success_interval)
    return (
        f"{said}; {row.accepted:,} of {row.told:,} with an outcome were accepted ({words.percent(row.success_rate)}, "
        f"between {low} and {high}), {_money(row.cost_per_accepted_nanousd)} per accepted task"
    )


def _money(nanousd: float | None) -> str:
    return f"at {words.UNKNOWN} cost" if nanousd is None else words.money(nanousd)


def ramp_of(story: RampStory) -> str:
    """Where it stands, and what allowed it."""
    share = f"{story.share_percent:g} % of users' conversations are on {story.candidate}, in stage {story.stage}."
    where = {
        "rolled_back": f"Everybody is back on {story.incumbent}.",
        "rejected": f"It was given up; users stayed on {story.incumbent}.",
        "settled": f"All users are on {story.candidate}, for good.",
    }.get(story.stage, share)
    return f"{where} Verdict {story.verdict[:12]} allowed it."


def steps_of(story: RampStory) -> list[str]:
    """Each change with its reasons, oldest first."""
    return [_step(step) for step in story.steps]


def _step(step: RampStep) -> str:
    when, why = words.moment(step.time_ns), "; ".join(step.reasons)
    return f"{when}, {step.stage} ({step.share_percent:g} %), by {step.by}: {why}"
