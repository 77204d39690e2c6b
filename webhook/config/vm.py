"""
The section `vm`: the machine that Harbor runs on.

Read by `harbor-cache render`.  `serve` and `controller` check it and open none of the files that
it names.
"""

from webhook.config.base import Section


class Vm(Section):
    """
    What `harbor-cache render` writes files for.
    """
