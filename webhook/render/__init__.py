"""
What goes on the VM and on the nodes, written out from the config file.

`files` makes the files in memory; `write` puts them into a folder, all of them or none.
"""

from webhook.render.certificates import certificates
from webhook.render.files import File, Written, write
from webhook.render.kinds import KINDS, files


__all__ = ["KINDS", "File", "Written", "certificates", "files", "write"]
