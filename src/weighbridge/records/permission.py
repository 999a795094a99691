"""The send gate: may a prompt of this route leave for that endpoint?

Checked before every send, whatever the purpose (user, fallback, shadow, trial, judge, drill). Unknown is refused.
"""

from weighbridge.records.table import Endpoint, Route, RouteTable

LOCAL_REGION = "local"


def refusal(route: Route, endpoint: Endpoint, *, is_incumbent: bool) -> str | None:
    """Why a prompt of `route` may not be sent to `endpoint`, in one sentence; `None` where it may.

    The incumbent's endpoint is permitted by being the incumbent. A loopback endpoint counts as region `local`,
    retention 0 and no training, whatever else it states. Any other endpoint must state all
    three inside the route's `allow_*`.
    """
    if is_incumbent:
        return None
    region = LOCAL_REGION if endpoint.loopback else endpoint.region
    retention = 0 if endpoint.loopback else endpoint.retention_days
    trains = False if endpoint.loopback else endpoint.trains_on_data
    where = f"endpoint {endpoint.name!r} on route {route.name!r}"
    regions = route.allow_regions or (LOCAL_REGION,)
    if "any" not in regions:
        if region is None:
            return f'{where}: `region` is not stated; state it, or set allow_regions = ["any"]'
        if region not in regions:
            return f"{where}: region {region!r} is not in allow_regions {list(regions)}"
    if route.allow_retention_days != "any":
        if retention is None:
            return f'{where}: `retention_days` is not stated; state it, or set allow_retention_days = "any"'
        if retention > route.allow_retention_days:
            return f"{where}: retention of {retention} days is over allow_retention_days {route.allow_retention_days}"
    if route.allow_training_on_data is False:
        if trains is None:
            return f'{where}: `trains_on_data` is not stated; state it, or set allow_training_on_data = "any"'
        if trains:
            return f"{where}: it trains on data, and allow_training_on_data is false"
    return None


def arm_refusal(table: RouteTable, route: Route, arm_name: str) -> str | None:
    """The send gate for an arm: why `arm_name` may not be used on `route`, or `None`."""
    arm = table.arm(arm_name)
    if arm.escalate is not None:
        other = arm_refusal(table, route, arm.escalate.to)
        if other is not None:
            return f"it escalates to {arm.escalate.to!r}: {other}"
    incumbent_endpoint = table.arm(route.incumbent).endpoint
    return refusal(route, table.endpoint(arm.endpoint), is_incumbent=arm.endpoint == incumbent_endpoint)
