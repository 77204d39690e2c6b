"""
The section `provisioning`: what Harbor itself should look like.

Read by `harbor-cache harbor plan | apply | verify`.  `serve` and `controller` check it and open
none of the files that it names.
"""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from webhook.config.base import Section


class Oidc(Section):
    """
    How people log in to Harbor: through dex or another OpenID Connect provider.

    Nothing that matters in an outage depends on it: pulls and probes are anonymous or by robot,
    provisioning is by the local administrator.
    """

    endpoint: str
    """The issuer, as it stands in the provider's own discovery document."""
    name: str = "dex"
    """What Harbor's login page calls the provider."""
    client_id: str = "harbor-cache-oidc-dex"
    client_secret_file: Path
    """A file with the client's secret, such as the one that `render dex` makes."""
    scopes: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "openid",
        "profile",
        "email",
        "groups",
    )
    groups_claim: str = "groups"
    admin_group: str = "cluster_admins"
    """The group whose members administer Harbor."""
    user_claim: str = "name"
    """The claim that becomes the name of the user in Harbor."""
    verify_certificate: bool = True
    auto_onboard: bool = False
    """Whether users get their name from the claim, without being asked at the first login."""


class Provisioning(Section):
    """
    What `harbor-cache harbor apply` makes so.
    """

    oidc: Oidc | None = None
    """Harbor keeps its own user database if absent."""
