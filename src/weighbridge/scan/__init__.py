"""Usage files to a bill, the waste in it, the alternatives and a quote.

A *format* recognises a file by its content and says, as SQL over DuckDB's readers, where each *column* is in it.
`read` streams files into one table of usage and keeps an *account*: what was read, what was not, and why. `price`
puts a cost on each row: what the file states, else what the price book says, else unknown. From there everything is
sums: the *bill* (who spent what), the *waste* rules, the *alternatives* of each application, the *flags* of each
candidate and the *quote* of what it would cost to decide.

Money is integer nano-dollars up to the moment where an *assumption* enters; figures that rest on assumptions are
ranges, and each names the rows of `assumptions.toml` it used. Without such a row the figure is unknown.

Prompts and answers are not read: no format asks for a column that holds them.
"""
