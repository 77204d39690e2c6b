"""
Who pulls: what nodes do is what is probed and verified.

A public project is open to everyone, and is looked at without credentials, so that a robot account
in trouble disturbs none.  A private one is pulled from with the robot account, where Pods are given
it as a pull secret; where they are not, nodes are everyone.
"""

from http import HTTPStatus
from typing import Final

from webhook.config import Config, Registry
from webhook.harbor.client import Cause, Credentials, HarborClient, fail, read_credentials


__all__ = ["REFUSED", "check_account", "read_account", "ways_to_pull"]

REFUSED: Final = "its secret is wrong, or it is disabled or has expired"


def ways_to_pull(config: Config, registry: Registry, *, account: bool) -> tuple[bool, ...]:
    """
    Return how nodes pull from a registry's project, in order: with the robot account, or without.

    Where Pods carry a pull secret, a project that is not as public as the config says still serves.
    *account* says whether there is such an account at all.
    """
    if not account or not config.pull_secrets:
        return (False,)
    return (False, True) if registry.is_public else (True,)


def read_account(config: Config) -> Credentials | None:
    """
    Return the robot account that the config names for probes, if it names one.

    Raises:
        HarborError: where its files can't be read.
    """
    harbor = config.harbor
    if harbor.username_file is None or harbor.password_file is None:
        return None
    return read_credentials(harbor.username_file, harbor.password_file)


async def check_account(client: HarborClient, account: Credentials) -> None:
    """
    Make sure that Harbor lets *account* in.

    Elsewhere it takes wrong credentials for none, and holds the answer up for 1.5 s.

    Raises:
        HarborError: if it does not.
    """
    answer = await client.call("GET", "/api/v2.0/users/current", authorization=account.header())
    if answer.status == HTTPStatus.UNAUTHORIZED:
        raise fail(
            Cause.UNAUTHORIZED, f"the robot account {account.username} is refused: {REFUSED}"
        )
    # Seen: the second is what a valid robot account gets here.
    answer.check(HTTPStatus.OK, HTTPStatus.PRECONDITION_FAILED)
