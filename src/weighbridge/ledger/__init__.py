"""Money: what endpoints charge (`prices`). Budgets, leases, statements and savings come into this room later.

- a *price* is compiled to integers here, by the keeper, so that a gateway worker only multiplies
- a *price version* says where the price comes from; it is stored with every cost
- unknown is unknown: a price that nobody stated is never 0
"""
