"""Money: what endpoints charge, what was spent, on whom it lands, and who may spend how much.

- a *price* is compiled to integers here, by the keeper, so that a gateway worker only multiplies. `prices` answers from
  `stated` rows (configuration, and `stored` in the signed log) and from the installed `book`; `compare` shows who says
  what
- `windows`, `steady`: when a budget's cap starts anew, and by which clock
- `leasing`, `life`: what a worker is granted of it, and how the hold of a request ends
- a *price version* says where the price comes from; it is stored with every cost
- unknown is unknown: a price that nobody stated is never 0, and another tier's price is nobody's statement
- a *posting* is one attempt with its cost; an *adjustment* adds to it (`adjust`), nothing that was booked is changed
- a `statement` allocates a month; `focus` exports it, by token class where `rates` still knows the rates of then
- `forecast` continues daily spend with a band, `outlook` says when a budget ends; `ratios` are measured token counts of
  two arms, and `savings` stands on them
- `reconcile` sets the books beside the provider's own count
"""
