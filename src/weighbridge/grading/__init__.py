"""How good is an answer? A score in [0, 1], from checks that a person can follow.

- `answers`: what a captured request asked (`Question`) and what a model said (`Answer`), out of the stored bytes
- `extract`: finding the answer in a text (`json:answer`, `last_number`, ...)
- `checks`: when two short answers are equal; standard library only
- `graders`: the kinds of grader that need no process, each with a version; `similarity`: chrF
- `confined`: those whose work may take long or go wrong (patterns, `sql`, `code`): `jobs` done by `children`,
  processes that are ended at a deadline; code runs in `sandbox`, behind the walls of `jail`
- `judge`: what a panel of models is asked and what its words count for; asking it is `trials.judging`
- `build`: a grader out of a `[[grader]]` of the configuration; `own`: a Python function as a grader
- `book`: which grader judges which slice of a route (`GraderBook`)
- `gold`: reference answers, imported by people and matched by the prompt's hash or by tags

A grader is the same for both arms and knows neither. Its notes say what kind of difference there is and never quote an
answer: they become part of the evidence, which outlives the erasure of a body.
"""
