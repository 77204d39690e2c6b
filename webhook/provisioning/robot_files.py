"""
Where the robot account's secret lies: two files, or the manifest of a Kubernetes Secret.

The secret is written nowhere else.  Files are made readable for their owner alone before there is
anything in them, and put in place as a whole.
"""

import base64
import json
import secrets
import string
import tempfile

from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import yaml

from webhook.config.provisioning import Robot
from webhook.errors import ConfigError
from webhook.harbor.client import Credentials
from webhook.process.whole_file import PRIVATE, write_whole


__all__ = ["check_writable", "new_secret", "read_robot_files", "write_robot_files"]

_LENGTH: Final = 40


def new_secret() -> str:
    """
    Return a secret of the form that Harbor asks for: a lower and an upper case letter, a digit.
    """
    alphabet = string.ascii_letters + string.digits
    while True:
        secret = "".join(secrets.choice(alphabet) for _ in range(_LENGTH))
        if (
            any(c.islower() for c in secret)
            and any(c.isupper() for c in secret)
            and any(c.isdigit() for c in secret)
        ):
            return secret


def read_robot_files(robot: Robot) -> Credentials | None:
    """
    Return what the files hold, or nothing where they are absent or hold something else.
    """
    with suppress(OSError, UnicodeDecodeError, ValueError, yaml.YAMLError, LookupError, TypeError):
        if robot.manifest_file is not None:
            data = yaml.load(robot.manifest_file.read_text("utf-8"), Loader=yaml.CSafeLoader)[
                "data"
            ]
            username, password = (base64.b64decode(data[key]).decode() for key in _KEYS)
        else:
            assert robot.username_file is not None and robot.password_file is not None  # noqa: PT018, S101
            username = robot.username_file.read_text("utf-8").strip()
            password = robot.password_file.read_text("utf-8").strip()
        if username and password:
            return Credentials(username, password)
    return None


_KEYS: Final = ("username", "password")


def _files(robot: Robot) -> tuple[Path, ...]:
    files = (robot.username_file, robot.password_file, robot.manifest_file)
    return tuple(file for file in files if file is not None)


def check_writable(robot: Robot) -> None:
    """
    Make sure that a secret can be written, before there is one that would be lost.

    Raises:
        ConfigError: naming the file.
    """
    for file in _files(robot):
        try:
            with tempfile.NamedTemporaryFile(dir=file.parent, prefix=f".{file.name}."):
                pass
        except OSError as error:
            raise ConfigError(f"provisioning.robot: {file}: {error.strerror}") from error
        if file.is_dir():
            raise ConfigError(f"provisioning.robot: {file}: is a directory")


def write_robot_files(robot: Robot, credentials: Credentials, host: str) -> None:
    """
    Write the account's name and secret where the config wants them.

    *host* is what a container runtime logs in to.
    """
    if robot.manifest_file is not None:
        text = yaml.safe_dump(_manifest(robot, credentials, host), sort_keys=False)
        write_whole(robot.manifest_file, text, PRIVATE)
        return
    assert robot.username_file is not None and robot.password_file is not None  # noqa: PT018, S101
    write_whole(robot.username_file, f"{credentials.username}\n", PRIVATE)
    write_whole(robot.password_file, f"{credentials.password}\n", PRIVATE)


def _manifest(robot: Robot, credentials: Credentials, host: str) -> dict[str, Any]:
    pair = f"{credentials.username}:{credentials.password}"
    login = {
        "auths": {
            host: {
                "username": credentials.username,
                "password": credentials.password,
                "auth": base64.b64encode(pair.encode()).decode(),
            }
        }
    }
    data = {
        ".dockerconfigjson": json.dumps(login),
        "username": credentials.username,
        "password": credentials.password,
    }
    metadata = {"name": robot.secret_name}
    if robot.secret_namespace is not None:
        metadata["namespace"] = robot.secret_namespace
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": "kubernetes.io/dockerconfigjson",
        "data": {key: base64.b64encode(value.encode()).decode() for key, value in data.items()},
    }
