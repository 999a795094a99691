"""Ten million exchanges in a store, as sealing leaves them: Parquet files of one segment each, signed into a chain.

The rows are made in SQL with the columns that sealing writes and are in the order of their time, as a worker ends its
requests; each file is about what one segment of frames holds. Twelve weeks, two workers, three routes, six teams, a
ramp that grows in the last month, failures, and a hundred thousand users. Nothing else of the store is made up.
"""

from hashlib import sha256

import duckdb

from weighbridge.exchanges.chain import Chain, SealedFile, signing_key
from weighbridge.exchanges.rows import COLUMNS, ROW_GROUP
from weighbridge.store.layout import Layout

FILE_ROWS = 100_000
DAYS = 84
DAY_NS = 86_400 * 10**9


def made(layout: Layout, requests: int, end_ns: int, *, file_rows: int = FILE_ROWS) -> int:
    """Sealed rows of the `DAYS` before `end_ns`; what they cost together, as summed while they were made."""
    chain, key = Chain(layout), signing_key(layout)
    database = duckdb.connect(config={"threads": "2"})
    total = 0
    step_us = DAYS * DAY_NS // 1000 // requests
    start_us = end_ns // 1000 - DAYS * DAY_NS // 1000
    sealed: list[SealedFile] = []
    for number, start in enumerate(range(0, requests, file_rows)):
        worker, segment = f"0123456789abcde{number % 2}", number // 2
        path = layout.parquet(worker, segment)
        rows = min(file_rows, requests - start)
        database.execute(
            f"COPY ({_ROWS.format(start=start, rows=rows, worker=worker, start_us=start_us, step_us=step_us)}) "
            f"TO '{path}' (FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP})"
        )
        found = database.execute("SELECT sum(cost_nanousd)::HUGEINT FROM read_parquet(?)", [str(path)]).fetchone()
        total += int(found[0]) if found else 0
        body = path.read_bytes()
        sealed.append(
            SealedFile(
                kind="rows", path=str(path.relative_to(layout.root)), source=f"{worker}-{segment:06d}.wbx",
                bytes=len(body), sha256=sha256(body).hexdigest(), count=rows,
            )
        )  # fmt: skip
    chain.append(key, time_ns=end_ns, sealed=tuple(sealed))
    database.close()
    return total


_ARM = "(CASE WHEN i % 3 = 0 AND i % 97 < 40 * (t - {start_us}) / (84 * 86400000000) THEN 'open' ELSE 'closed' END)"
_TOKENS = "(500 + i % 700) AS asked, (20 + i % 90) AS answered, (i % 3) * 1000 AS cached"
_USAGE = (
    "{{'input': asked, 'output': answered, 'cache_read': cached, 'cache_write': 0, "
    "'cache_write_1h': 0, 'reasoning': 0, 'audio_input': 0, 'audio_output': 0, 'image_input': 0, "
    "'image_output': 0, 'web_searches': 0, 'service_tier': NULL::VARCHAR, 'total': asked + answered + cached}}"
)
_COST = (
    "(CASE arm WHEN 'open' THEN asked * 333 + answered * 777 ELSE asked * 5000 + answered * 30000 + cached * 500 END)"
)
_VALUES = {
    "id": "'{worker}-' || printf('%x', i)", "time": "make_timestamp(t)",
    "route": "['assistant', 'search', 'triage'][1 + i % 3]", "arm": "arm",
    "key": "['app', 'bench', 'batch', 'mobile'][1 + i % 4]",
    "team": "CASE i % 6 WHEN 0 THEN NULL ELSE 'team-' || (i % 6) END",
    "user": "'user-' || (hash(i) % 100000)", "tags": "MAP {{'task': [task]}}", "slice": "'task=' || task",
    "purpose": "CASE WHEN i % 50 = 7 THEN 'trial' ELSE 'user' END", "table": "7",
    "attempts": f"[{{{{'attempt': 1, 'arm': arm, 'endpoint': arm || '-api', 'model': 'gpt-5.5', 'edits': "
    f"[]::VARCHAR[], 'fallback': false, 'status': CASE WHEN i % 211 = 0 THEN 502 ELSE 200 END, 'usage': {_USAGE}, "
    f"'cost_nanousd': CASE WHEN i % 1009 = 0 THEN NULL ELSE {_COST} END, 'price_version': "
    "'book 1 closed', 'duration_ns': 1000000 * (400 + i % 900), 'first_byte_ns': 90000000, 'error': NULL::VARCHAR, "
    "'estimated': false, 'finish_reason': 'stop'}}]",
    "usage": _USAGE, "cost_nanousd": f"CASE WHEN i % 1009 = 0 THEN NULL ELSE {_COST} END",
    "price_version": "'book 1 closed'", "outcome": "CASE WHEN i % 211 = 0 THEN 'upstream_error' ELSE 'ok' END",
    "timings": "{{'duration_ns': 1000000 * (400 + i % 900), 'first_byte_ns': 90000000}}",
    "status": "CASE WHEN i % 211 = 0 THEN 502 ELSE 200 END", "error": "NULL", "stream": "i % 2 = 0",
    "conversation": "printf('%016x', hash(i // 3))", "trial": "NULL", "item": "NULL", "max_tokens": "NULL",
    "redacted": "false",
    "asked": "'openai'", "digest": "sha256(i::VARCHAR)",
}  # fmt: skip
_CAST = ", ".join(f'CAST({_VALUES[name]} AS {kind}) AS "{name}"' for name, kind in COLUMNS.items())
_ROWS = (
    f"WITH n AS (SELECT unnest(range({{start}}, {{start}} + {{rows}})) AS i), "  # noqa: S608 (our own text)
    f"s AS (SELECT i, {{start_us}} + i * {{step_us}} AS t, ['refund', 'triage', 'extract', 'chat'][1 + i % 4] AS task, "
    f"{_TOKENS} FROM n), a AS (SELECT *, {_ARM} AS arm FROM s) SELECT {_CAST} FROM a"
)
