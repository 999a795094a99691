"""A labelled sample of support traffic, so that Weighbridge can be tried without anybody's data.

What it **is**: 450 short requests to the support of an invented shop ("Pinemarsh", with a stock-keeping app called
"Tally"), in three slices of 150, each with an answer that a program can check:

- `task=triage`: put a message under one of six labels (grader `label`);
- `task=extract`: order, product, quantity and reason as JSON (grader `json`, field by field, `extract.schema.json`);
- `task=refund`: work out a refund from a few stated rules (grader `number`).

What it **is not**: real customers, real traffic, or the output of any closed model. Every request is invented. So is
every *incumbent answer*: hand-written, with a few mistakes made on purpose (4 in `triage`, 5 in `extract`, 6 in
`refund`); each line says so in `incumbent` and `note`. A verdict on this sample shows how Weighbridge decides. It says
nothing about your own traffic, and nothing about the quality of a closed model.

The requests, the labels and the incumbent's answers were fixed before any model had answered them.

Files, all JSON Lines in UTF-8 but the schema:

- `support.jsonl`: the sample (`SampleItem`). `facts` are the structured facts behind a gold answer and `quotes` the
  words of the message that state them, so that each gold answer can be worked out again;
- `gold.jsonl`: the same gold answers as `weighbridge gold import` reads them;
- `extract.schema.json`: the JSON schema of the `extract` slice;
- `recorded_pairs.jsonl`: answers of a real open-weight model to the sample (`RecordedPair`), recorded by
  `scripts/record_sample.py`, for `weighbridge demo`, which needs neither a model nor a key.

`items` reads them, `local_model` fetches and serves the open-weight model.
"""
