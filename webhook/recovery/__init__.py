"""
Moving containers that wait for their pull to the source that works.

`waiting` says what of a Pod matters, and `failure` whose fault a failed pull is.  `plan` decides what is
done now: `restore` and `rescue` say what could be, and the `ladder` whether it may, by what is
remembered of the container and its Pod.  `patch` writes it down.  `evidence` concludes from failures and
successes which images are quarantined and which projects suspended, and `ledger` for how long.  `former` keeps rules
that were in force lately; `identity` is the one name of an image.

All of it is pure; the controller (`webhook.controller`) does it.
"""
