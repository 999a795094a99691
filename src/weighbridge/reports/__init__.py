"""The report: what may move, what must not, and what nobody can say yet, from records alone.

- `model`: the `Report` record (schema `report/1`), which is also `report.json`
- `load`, `gather`: the route table, the signed objects and one pass over the log -> `Inputs`
- `build`: `Inputs` -> `Report`; `build(layout, loaded, now)` does both
- `recommend`: verdict + licence + send gate + cost -> move, do not move, not enough evidence
- `measure`: cost, tokens, latency and errors of both arms on the same requests
- `gaps`: what was not tested, derived from facts
- `chart`: the confidence sequence of a comparison, as geometry
- `losses`: what was asked and answered where the candidate did worst; only on request
- `html`, `markdown`: renderings; they format and never decide
- `write`: the folder with `index.html`, `report.json` and `summary.md`

A saving never stands without the verdict of the same rows, and what is not known is said to be unknown.
"""
