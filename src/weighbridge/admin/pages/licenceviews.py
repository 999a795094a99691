"""Licences: what the terms of each arm mean for this organisation, models by roles, and what changed lately."""

from datetime import date

import msgspec

from weighbridge.admin.pages.sources import Sources
from weighbridge.config.tree import ROLES
from weighbridge.errors import UsageError
from weighbridge.licenses import finding, profile
from weighbridge.licenses.changes import Told, changes, told
from weighbridge.licenses.matrix import Matrix, matrix
from weighbridge.records.evidence import Finding

CHANGES_SHOWN = 30


class ArmLicence(msgspec.Struct, frozen=True, kw_only=True):
    arm: str
    model: str
    weights: str | None
    routes: tuple[str, ...]
    finding: Finding


class Licences(msgspec.Struct, frozen=True, kw_only=True):
    on: str
    arms: tuple[ArmLicence, ...]
    matrix: Matrix
    every_model: bool
    not_recorded: tuple[str, ...]
    """Models of arms that no record knows, so that they have no row."""
    changes: tuple[Told, ...]
    """Newest first."""
    roles: tuple[str, ...]
    """Of this organisation; empty: not stated."""


def licences(sources: Sources, on: date, *, every_model: bool) -> Licences:
    loaded, day = sources.loaded, on.isoformat()
    who = profile(loaded.config.organization, loaded.file)
    arms = []
    for arm in loaded.config.arm:
        routes = tuple(
            route.name
            for route in loaded.config.route
            if arm.name in (route.incumbent, *route.candidates, *route.fallbacks)
        )
        arms.append(
            ArmLicence(
                arm=arm.name, model=arm.model, weights=arm.weights, routes=routes, finding=finding(arm, day, who)
            )
        )  # fmt: skip
    names: list[str] = []
    missing: list[str] = []
    for one in loaded.config.arm:
        if one.weights == "closed":
            continue
        query = one.terms or one.model
        try:
            matrix(who, day, (query,), ROLES[:1])
            names.append(query)
        except UsageError:
            missing.append(one.model)
    shown = matrix(who, day) if every_model else Matrix(on=day, roles=tuple(ROLES), rows=())
    if not every_model and names:
        shown = matrix(who, day, tuple(dict.fromkeys(names)))
    lately = sorted(changes(), key=lambda one: one.date, reverse=True)[:CHANGES_SHOWN]
    return Licences(
        on=day, arms=tuple(arms), matrix=shown, every_model=every_model, not_recorded=tuple(missing),
        changes=tuple(told(one) for one in lately), roles=tuple(sorted(who.roles)),
    )  # fmt: skip
