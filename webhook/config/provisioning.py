"""
The section `provisioning`: what Harbor itself should look like.

Read by `harbor-cache harbor plan | apply | verify`.  `serve` and `controller` check it and open
none of the files that it names.
"""

from webhook.config.base import Section


class Provisioning(Section):
    """
    What `harbor-cache harbor apply` makes so.
    """
