"""A judge's liking for long answers, taken out as it becomes known."""

from weighbridge.stats.bets import check_difference

PRIOR = 5.0
"""Units' worth of "no liking at all" that the slope starts from."""


class LengthTerm:
    """Takes from a judge's difference what the difference in length explains, by units seen before.

        l      = (length of the candidate's answer - the incumbent's) / their sum, in [-1, 1]
        gamma  = clip(sum f l / (sum l^2 + 5), 0, 1) over past units         f' = clip(f - gamma l, -1, 1)

    Assumption: none for validity, f' is one more judge for `judged.JudgedTest`, and gamma comes from the past only;
    that liking is linear in l decides how much it helps. A candidate that is better *because* it says more loses some
    of that in f', which human labels give back. After Dubois et al. 2024, "Length-Controlled AlpacaEval".
    """

    def __init__(self) -> None:
        self._fl = self._ll = 0.0

    @property
    def gamma(self) -> float:
        return min(1.0, max(0.0, self._fl / (self._ll + PRIOR)))

    def take(self, f: float, length: float) -> float:
        """f' of one unit; then the unit is past. f, length: in [-1, 1], else ValueError."""
        f, length = check_difference(f, "judge difference"), check_difference(length, "length difference")
        adjusted = min(1.0, max(-1.0, f - self.gamma * length))
        self._fl += f * length
        self._ll += length * length
        return adjusted


def length_difference(incumbent: int, candidate: int) -> float:
    """l of two lengths in characters; 0 where both are empty."""
    total = incumbent + candidate
    return 0.0 if total == 0 else (candidate - incumbent) / total
