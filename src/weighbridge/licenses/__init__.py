"""What the terms of an arm mean for the organisation, said in every verdict.

`finding.finding(arm, on)` knows permissive licences by their SPDX id and calls everything else `unclear`, with the
reason and what to do about it. It is a reading of facts, not legal advice; `unclear` is an answer, a guess is not.
"""

from weighbridge.licenses.finding import finding

__all__ = ["finding"]
