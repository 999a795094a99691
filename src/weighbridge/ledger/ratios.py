"""How many tokens one arm needs for what another arm did with the same requests: measured on the replays of trials.

A replay names the exchange that it repeats. Over all such pairs, the ratio of the incumbent's tokens to the candidate's
is R = sum(a) / sum(b), with the standard error of a ratio of means (Cochran 1977, "Sampling Techniques", 6.3):

    se(R) = sqrt(sum((a - R b)^2) / (n (n - 1))) / mean(b)

Input and output have a ratio each: tokenizers decide the one, verbosity and reasoning the other. Assumption: what a
trial sampled is like the rest of the traffic. Fewer than `PAIRS_MIN` pairs are no measurement.
"""

import math

import duckdb
import msgspec

PAIRS_MIN = 30
Z = 1.96
"""For an interval of 95 %."""


class Ratio(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens of the one arm for one token of the other."""

    value: float
    low: float
    high: float
    pairs: int


class Ratios(msgspec.Struct, frozen=True, kw_only=True):
    input: Ratio
    output: Ratio


class CacheShare(msgspec.Struct, frozen=True, kw_only=True):
    """Of all input tokens of an arm's user requests: what was read from and what was written to a cache."""

    read: float
    written: float
    written_1h: float
    requests: int


def token_ratios(sql: duckdb.DuckDBPyConnection, of: str, to: str) -> Ratios | None:
    """Tokens of arm `of` for one of arm `to`, in either role; `None` where too few pairs were tried."""
    found = sql.execute(_PAIRS, [of, to]).fetchone()
    if found is None or found[0] < PAIRS_MIN:
        return None
    pairs = int(found[0])
    given, made = (_ratio(pairs, *map(float, found[at : at + 5])) for at in (1, 6))
    return None if given is None or made is None else Ratios(input=given, output=made)


def _ratio(n: int, a: float, b: float, aa: float, bb: float, ab: float) -> Ratio | None:
    if b <= 0:
        return None
    value = a / b
    scatter = max(0.0, aa - 2 * value * ab + value * value * bb)
    error = math.sqrt(scatter / (n * (n - 1))) / (b / n)
    return Ratio(value=value, low=max(0.0, value - Z * error), high=value + Z * error, pairs=n)


def cache_share(sql: duckdb.DuckDBPyConnection, arm: str, route: str) -> CacheShare | None:
    """`None` where the arm served no user request of the route."""
    found = sql.execute(_CACHE, [arm, route]).fetchone()
    if found is None or not found[0] or not found[1]:
        return None
    requests, total, read, written, hour = map(float, found)
    return CacheShare(read=read / total, written=written / total, written_1h=hour / total, requests=int(requests))


_SUMS = "sum({a})::DOUBLE, sum({b})::DOUBLE, sum({a}::DOUBLE * {a}), sum({b}::DOUBLE * {b}), sum({a}::DOUBLE * {b})"
_COUNTED = (
    "SELECT id, item, arm, purpose, "
    "usage.input + usage.cache_read + usage.cache_write + usage.cache_write_1h AS given, "
    "usage.output + usage.reasoning AS made FROM exchanges "
    "WHERE usage IS NOT NULL AND outcome = 'ok' AND len(attempts) = 1"
)
_PAIRS = (
    f"WITH counted AS ({_COUNTED}), "  # noqa: S608 (our own text)
    # An item may be replayed more than once (a retry, another look): one pair each.
    "pairs AS (SELECT DISTINCT ON (e.id, r.arm) "
    "CASE WHEN e.arm = $1 THEN e.given ELSE r.given END AS a_given, "
    "CASE WHEN e.arm = $1 THEN r.given ELSE e.given END AS b_given, "
    "CASE WHEN e.arm = $1 THEN e.made ELSE r.made END AS a_made, "
    "CASE WHEN e.arm = $1 THEN r.made ELSE e.made END AS b_made "
    "FROM counted r JOIN counted e ON r.item = e.id AND e.purpose = 'user' AND r.purpose = 'trial' "
    "WHERE (e.arm = $1 AND r.arm = $2) OR (e.arm = $2 AND r.arm = $1) ORDER BY e.id, r.arm, r.id) "
    f"SELECT count(*), {_SUMS.format(a='a_given', b='b_given')}, {_SUMS.format(a='a_made', b='b_made')} FROM pairs"
)
_CACHE = (
    "SELECT count(*), sum(input + cache_read + cache_write + cache_write_1h), sum(cache_read), sum(cache_write), "
    "sum(cache_write_1h) FROM postings WHERE arm = ? AND route = ? AND purpose = 'user' AND has_usage"
)
