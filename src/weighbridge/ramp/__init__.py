"""A ramp moves a route's users to a certified candidate in stages, and takes them back by itself.

    exchange log --scribe--> sightings (of all hosts: gathering) --watch--> streams --controller--> office: commit

- `stages`: the table of stages and moves; `controller`: (state, evidence, gates) -> decision, pure
- `office`: people's calls (`asking`) and decisions become commits; `proposing` makes the first state of a ramp
- `scribe` reads the log and says what is to be seen of each request: `sightings`, facts without text
- `gathering` has those of this store and, where gateways share a route, of all others
- `watch` counts the sightings of one stage into `streams`; `watching` holds the stage in hand of each ramp
- `observe`: what went wrong with a request; `judging`: how good its answer was
- `gates`: what may hold a ramp or take it back besides evidence, out of `facts`
- `plan`: shares, times and evidence of each stage, and what users may see before an alarm
- `drills`: a short announced share for the way back; `proposals`, `reasons`: what would be worth a trial now
- `custody`: who allowed which share; `story`: the same for people
"""
