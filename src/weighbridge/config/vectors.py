"""Routes of embeddings: which they are, and why nothing moves on them.

An index is searched by comparing vectors that one model made. Vectors of another model lie elsewhere, so an index that
holds both finds the wrong things, without an error anywhere. Such traffic is moved by building the index anew, not in
steps.
"""

import re

from weighbridge.config.tree import Config, RouteSection
from weighbridge.errors import ConfigError

WHY = (
    "it serves embeddings, and vectors of two models do not compare, so an index that holds both is corrupted. To "
    "change the model, make a route of its own for it and build the index anew with that"
)
_NAMED = re.compile(r"embed|(?:^|/)(?:bge|e5|gte|voyage|multilingual-e5)-", re.IGNORECASE)
"""Names of models that make vectors, by their makers' habit."""


def serves_embeddings(config: Config, route: RouteSection) -> bool:
    """As the route says; where it says nothing, as its incumbent's model is called."""
    if route.embeddings is not None:
        return route.embeddings
    model = next((arm.model for arm in config.arm if arm.name == route.incumbent), "")
    return _NAMED.search(model) is not None


def check_vectors(file: str, config: Config) -> None:
    """Nothing else may answer on a route of embeddings. Raises `ConfigError`."""
    for route in config.route:
        if not serves_embeddings(config, route):
            continue
        where = f"route[{route.name}]"
        for key in ("candidates", "fallbacks"):
            others: tuple[str, ...] = getattr(route, key)
            if others:
                raise ConfigError(
                    file,
                    f"{where}.{key}",
                    f"must be empty: {WHY}",
                    value=", ".join(others),
                    allowed="none; or embeddings = false where applications only chat on this route",
                )
        for index, ramp in enumerate(config.ramp):
            if ramp.route == route.name:
                raise ConfigError(
                    file, f"ramp[{index}].route", f"names a route that never ramps: {WHY}", value=route.name
                )
