"""The first four bytes of an input say in which pieces the rest of it comes."""

from itertools import pairwise


def pieces(data: bytes) -> list[bytes]:
    """Up to four cuts, at places that the first four bytes name; the rest is what is cut."""
    places, rest = data[:4], data[4:]
    cuts = sorted({0, len(rest), *(place * len(rest) // 256 for place in places)})
    return [rest[start:end] for start, end in pairwise(cuts)]
