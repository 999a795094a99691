"""Sequential statistics: when may a verdict be given, and how sure is it. Pure maths on numpy arrays.

The room has no idea what a model is. Its nouns:

- a *unit* is one request, or one whole cluster (conversation, task, repeated runs); its *difference* D lies in [-1, 1],
  candidate minus incumbent, and the *margin* m in (0, 1) is fixed in advance.
- an *e-process* is the wealth of a bettor who bets against a null hypothesis with bets fixed before each outcome.
  Under the null it exceeds 1/alpha, at any time whatever, with probability at most alpha (Ville); so every peek is
  free.
- *certify* bets against "E[D] <= -m", *halt* against "E[D] >= -m" (`sequential.PairTest`, `interval`).
- a *family* is the set of certify processes of all slices and candidates, decided by closed testing (`family.Family`).
- the *whole* is the traffic-weighted mean over slices, one importance-weighted stream (`overall`).
- *judged* streams have a cheap judge on every unit and a human label on some (`judged.JudgedTest`).
- `planner` says beforehand how many pairs it takes, and on the way how many more; `aa` how noisy the grader is; `rare`
  bounds counts; `clusters` makes units and their seeded order.
- `verdict.Decider` puts these together for one trial, pair by pair; `batch.decide_arrays` does the same from arrays.

Everywhere: logs of e-values are natural logs; a value that is not known yet is None; a number that breaks a rule
raises `ValueError` naming the value and the rule.

Papers: Waudby-Smith and Ramdas 2024 (betting); Gruenwald, de Heide and Koolen 2024 (growth-optimal bets); Ramdas and
Wang 2024 (e-values); Vovk and Wang 2021, Hartog and Lei 2025 (closed testing with averages); Choe and Ramdas 2024 (one
filtration); Angelopoulos et al. 2023 and Csillag et al. 2025 (prediction-powered). `docs/design/statistics.md` says
which choice was made where.
"""
