"""What the terms of a model mean for one organisation: clause by clause, on a date, through the route it is called by.

    Terms       one version of one licence as dated, sourced facts (`terms/*.toml`, `model`, `load`)
    Profile     the organisation as licences see it, from `[organization]`; what is absent is unknown (`profile`)
    Case        terms and a profile, with what is known of the checkpoint (`conditions`)
    Truth       yes, no, or the facts that would tell (`truth`)
    Outcome     what one text means: a floor that is certain, a ceiling that is possible, duties (`rules`)
    Answer      a whole stack put together: verdict, obligations, reasons, questions (`answer`, `check`)
    Finding     the same as a line in a verdict or a report (`finding`)

Rules are pure and three-valued; facts that are only reported may restrict, never permit. Everything is a reading of
recorded facts, not legal advice: `unclear` is an answer, a guess is not.
"""

from weighbridge.licenses.check import check
from weighbridge.licenses.finding import finding
from weighbridge.licenses.profile import Profile, load_profile, profile

__all__ = ["Profile", "check", "finding", "load_profile", "profile"]
