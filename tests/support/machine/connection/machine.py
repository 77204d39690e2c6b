"""
An Ansible connection into a root directory in which a systemd of its own runs.
"""

import shutil
import subprocess

from pathlib import Path

from ansible.plugins.connection import ConnectionBase


DOCUMENTATION = """
name: machine
short_description: run in the namespaces of a process and in its root directory
description: For tests of playbooks; the process is the systemd of that machine.
author: the authors of harbor-cache-webhook
options:
  pid:
    description: The process id of its systemd.
    vars: [{name: machine_pid}]
"""


class Connection(ConnectionBase):
    transport = "machine"
    has_pipelining = True

    def _connect(self):
        self._connected = True
        return self

    def close(self):
        self._connected = False

    def exec_command(self, cmd, in_data=None, sudoable=True):  # noqa: FBT002  Ansible's signature.
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        pid = self.get_option("pid")
        done = subprocess.run(
            [
                *("nsenter", f"--target={pid}", "--mount", "--pid", "--uts", "--ipc", "--root"),
                *("/usr/bin/env", "--chdir=/", "/bin/sh", "-c", cmd),
            ],
            input=in_data,
            capture_output=True,
            check=False,
        )
        return done.returncode, done.stdout, done.stderr

    def put_file(self, in_path, out_path):
        shutil.copyfile(in_path, self._inside(out_path))

    def fetch_file(self, in_path, out_path):
        shutil.copyfile(self._inside(in_path), out_path)

    def _inside(self, path):
        return Path(f"/proc/{self.get_option('pid')}/root") / path.lstrip("/")
