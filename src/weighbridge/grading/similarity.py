"""How alike are two texts? chrF: the F-score of shared character n-grams. Standard library only."""

from collections import Counter

from weighbridge.grading.checks import ANSWER_CHARS_MAX

ORDER_MAX = 6
BETA = 2.0


def chrf(answer: str, reference: str) -> float:
    """chrF2 of an answer against a reference, in [0, 1]; 1 for equal texts, 0 where nothing is shared.

    With P_n and R_n the precision and recall of character n-grams (white space taken away), n = 1..6, P and R their
    means over those n that both texts are long enough for, and beta = 2:

        chrF = (1 + beta^2) P R / (beta^2 P + R)

    Assumption: wording stands for meaning, which holds for translations and extraction far better than for open
    questions. Source: Popovic 2015, "chrF: character n-gram F-score for automatic MT evaluation". Looked at are the
    first 20,000 characters of each.
    """
    a, b = ("".join(text[:ANSWER_CHARS_MAX].split()) for text in (answer, reference))
    if a == b:
        return 1.0 if a else 0.0
    precisions, recalls = [], []
    for n in range(1, ORDER_MAX + 1):
        if len(a) < n or len(b) < n:
            break
        grams_a = Counter(a[at : at + n] for at in range(len(a) - n + 1))
        grams_b = Counter(b[at : at + n] for at in range(len(b) - n + 1))
        shared = (grams_a & grams_b).total()
        precisions.append(shared / grams_a.total())
        recalls.append(shared / grams_b.total())
    if not precisions:
        return 0.0
    precision, recall = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    weight = BETA * BETA
    return 0.0 if precision + recall == 0.0 else (1 + weight) * precision * recall / (weight * precision + recall)
