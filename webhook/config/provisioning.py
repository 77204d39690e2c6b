"""
The section `provisioning`: what Harbor itself should look like.

Read by `harbor-cache harbor plan | apply | verify`.  `serve` and `controller` check it and open
none of the files that it names.
"""

from typing import Annotated, Self

from pydantic import Field, model_validator

from webhook.config.base import ConfigPath, KubernetesName, Matching, Section, ServerUrl
from webhook.config.cron import Cron


class Oidc(Section):
    """
    How people log in to Harbor: through dex or another OpenID Connect provider.

    Nothing that matters in an outage depends on it: pulls and probes are anonymous or by robot,
    provisioning is by the local administrator.
    """

    endpoint: ServerUrl
    """The issuer, as it stands in the provider's own discovery document."""
    name: str = "dex"
    """What Harbor's login page calls the provider."""
    client_id: str = "harbor-cache-oidc-dex"
    client_secret_file: ConfigPath
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


_RobotName = Annotated[
    str,
    Matching(
        r"[a-z0-9]+(?:[._-][a-z0-9]+)*",
        "lower-case letters and digits, with ., _ or - between them",
    ),
]


class Retention(Section):
    """
    Which cached images stay.  Without it Harbor drops what nobody pulled for 7 days.
    """

    days_since_last_pull: Annotated[int, Field(ge=1)] = 30
    cron: Cron = "0 0 0 * * *"


class GarbageCollection(Section):
    """
    When the space of dropped images is given back: a cache that fills its disk is an outage.
    """

    cron: Cron = "0 0 3 * * *"
    delete_untagged: bool = False
    """Also drop what has no tag.  Images that were pulled by digest have none."""


class Robot(Section):
    """
    A pull-only robot account, for private projects: probes and nodes log in with it.

    Its secret goes to two files, or into the manifest of a Kubernetes Secret; never elsewhere.
    """

    name: _RobotName = "harbor-cache"
    username_file: ConfigPath | None = None
    password_file: ConfigPath | None = None
    manifest_file: ConfigPath | None = None
    """A Secret of type kubernetes.io/dockerconfigjson that holds username and password too."""
    secret_name: KubernetesName = "harbor-cache-robot"  # noqa: S105 - a name
    secret_namespace: KubernetesName | None = None

    @model_validator(mode="after")
    def _check_files(self) -> Self:
        pair = (self.username_file, self.password_file)
        if (None in pair and pair != (None, None)) or (
            (self.manifest_file is None) == (self.password_file is None)
        ):
            raise ValueError("needs usernameFile and passwordFile, or manifestFile")
        return self


class Provisioning(Section):
    """
    What `harbor-cache harbor apply` makes so.
    """

    quota_gib: int = -1
    """How much each project may cache, in GiB; -1 for no limit.  Beyond it pulls still work."""
    retention: Retention | None = Retention()
    """Left as Harbor has it if null."""
    garbage_collection: GarbageCollection | None = GarbageCollection()
    """Left as Harbor has it if null."""
    robot: Robot | None = None
    """None is made if absent; public projects need none."""
    oidc: Oidc | None = None
    """Harbor keeps its own user database if absent."""

    @model_validator(mode="after")
    def _check_quota(self) -> Self:
        if self.quota_gib == 0 or self.quota_gib < -1:
            raise ValueError("quotaGib: must be positive, or -1 for no limit")
        return self
