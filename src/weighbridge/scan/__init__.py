"""Usage files to a bill, the waste in it, the alternatives and a quote."""
