"""A verdict from pairs that somebody else made: any log, any grader, any judge.

    file --source--> columns --read--> Pairs --units--> Units --decide--> states --conclude--> Verdict

- `source`: one file as columns of text (jsonl, csv, parquet), whatever its spelling; finds no meaning in them
- `columns`: which columns there are, what they mean, and near misses
- `rows`: `Pairs`, scores by row as arrays, checked; each rule that a row can break is here, once
- `read`: file -> Pairs, or an error that names the row, the value and the rule
- `units`: clusters and slices -> units in their seeded order
- `decide`: units -> states of all slices and the whole; pure
- `power`: what so many units could have shown
- `conclude`: states -> the `Verdict` record with reasons in plain words; pure
"""
