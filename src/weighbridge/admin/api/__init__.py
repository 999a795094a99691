"""The admin API, `/api/v1/...`: JSON in and out, doors of the same table, the same functions as pages and commands.

- `calls`: reading a request into its record, writing an answer
- `reads`: what can be looked at; `changes`: ramps, budgets, keys, erasure; `people`: users, tokens, the book of changes
- `openapi`: the description, made of the doors and their records
"""
