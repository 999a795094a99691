"""What a host really does, found by asking it: `weighbridge endpoint check`.

- `Probe`: fixed requests and a pure judgement of what came back; so its highest cost is known before it is asked
- `Heard`: one answer, read, with its times and the exchange that it is recorded as
- `Row`: one line of the finding, with the requests and answers that it rests on
- `against`: do two hosts of the same model answer alike, and what would have to be seen to say so

Every probe goes through the gateway under a trial token: past the send gate, held within a budget, in the log with
purpose `trial`. No probe holds anything of a user.
"""
