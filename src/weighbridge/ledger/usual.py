"""How long answers usually are: what is held for a request that names no limit of its own.

Of each route and arm the 99.5th percentile of the output tokens of the last four weeks, over what users sent without
`max_tokens`. One in two hundred costs more than was held: the excess is booked, and bounds that request alone.

The percentile is an order statistic, so it needs no distribution. With fewer than 600 answers the largest one seen is
below the true percentile too often (0.995 ** 600 = 5 %), and nothing is said. Rounded up to two significant bits, so
that the figure, and with it the route table, changes when traffic does and not each day.
"""

from datetime import UTC, datetime, timedelta

import msgspec

from weighbridge.exchanges.relation import relation
from weighbridge.store.layout import Layout

DAYS = 28
SHARE = 0.995
ANSWERS_MIN = 600


class Usual(msgspec.Struct, frozen=True):
    route: str
    arm: str
    tokens: int


def usual_output(layout: Layout, now_ns: int) -> tuple[Usual, ...]:
    """By route and arm, in that order. Reads the log's columns, seconds for millions of rows. Raises `StoreError`."""
    since = datetime.fromtimestamp(now_ns // 1_000_000_000, UTC) - timedelta(days=DAYS)
    with relation(layout, threads=1) as sql:
        rows = sql.execute(
            "WITH answers AS (SELECT route, a.arm AS arm, a.usage.output + a.usage.reasoning + a.usage.audio_output "
            "+ a.usage.image_output AS tokens FROM (SELECT route, unnest(attempts) AS a FROM exchanges "
            "WHERE purpose = 'user' AND outcome = 'ok' AND max_tokens IS NULL AND time >= ?) "
            "WHERE a.usage IS NOT NULL) "
            "SELECT route, arm, quantile_disc(tokens, ?) FROM answers GROUP BY ALL HAVING count(*) >= ? "
            "ORDER BY route, arm",
            [since, SHARE, ANSWERS_MIN],
        ).fetchall()
    return tuple(Usual(str(route), str(arm), rounded(int(tokens))) for route, arm, tokens in rows)


def rounded(tokens: int) -> int:
    """Up, to two significant bits: 64, 96, 128, 192, 256, ... At most half as much again."""
    step = 1 << max(5, tokens.bit_length() - 2)
    return max(1, -(-tokens // step)) * step
