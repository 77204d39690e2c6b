"""
The section `vm`: the machine that Harbor runs on.

Read by `harbor-cache render`.  `serve` and `controller` check it and open none of the files that
it names.
"""

from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from webhook.config.base import ConfigPath, Matching, Section


# What the files that `render` writes were made for and are tested with.
_HARBOR: Final = "v2.15.2"
_TRAEFIK: Final = "v3.7.15"

# Paths and names are written into shell scripts, units and YAML: nothing in them may need quoting.
_Directory = Annotated[
    str,
    Matching(r"(?:/[A-Za-z0-9._-]+)+", "an absolute path of letters, digits, ., _ and -"),
]
_Version = Annotated[
    str, Matching(r"v[0-9]+\.[0-9]+\.[0-9]+(?:-[a-z0-9.]+)?", "a version such as v2.15.2")
]
_Variable = Annotated[
    str, Matching(r"[A-Z][A-Z0-9_]*", "the name of a variable, such as CF_DNS_API_TOKEN")
]
_Email = Annotated[str, Matching(r"[^@\s'\"]+@[^@\s'\"]+", "an address such as admin@example.com")]
_Provider = Annotated[
    str, Matching(r"[a-z0-9-]+", "a provider's code of Traefik's list, such as route53")
]
_HttpsUrl = Annotated[str, Matching(r"https://[^\s'\"]+", "a URL that begins with https://")]
# A name or an address, IPv6 in brackets; Traefik takes port 53 where none is named.
_Resolver = Annotated[
    str,
    Matching(
        r"(?:[A-Za-z0-9.-]+|\[[0-9A-Fa-f:]+\])(?::[0-9]{1,5})?", "a DNS server such as 1.1.1.1:53"
    ),
]


class Acme(Section):
    """
    How Traefik gets its certificate: by a DNS record, so that port 80 need not be public.
    """

    email: _Email = "admin@example.com"
    """Where the certificate authority writes when a certificate is about to end."""
    provider: _Provider = "route53"
    """Who serves the DNS zone, by the name that Traefik's list of DNS providers gives it."""
    environment: tuple[_Variable, ...] = ()
    """The variables that this provider reads its credentials from; known for `route53` alone."""
    directory_url: _HttpsUrl = "https://acme-v02.api.letsencrypt.org/directory"
    """The certificate authority; its staging one is the better choice for first tries."""

    resolvers: tuple[_Resolver, ...] = ()
    """
    The DNS servers that are asked whether the record can be seen yet, such as `1.1.1.1:53`; the
    machine's own without it.  Needed where those give another answer than the rest of the world.
    """

    @model_validator(mode="after")
    def _check_environment(self) -> Self:
        if self.provider != "route53" and not self.environment:
            raise ValueError(
                f"environment: name the variables that the provider {self.provider!r} reads, as"
                " Traefik's list of DNS providers gives them"
            )
        return self

    @property
    def variables(self) -> tuple[str, ...]:
        """
        Return the names of the variables that carry the provider's credentials.
        """
        route53 = (
            "AWS_ACCESS_KEY_ID",
            "AWS_SECRET_ACCESS_KEY",
            "AWS_REGION",
            "AWS_HOSTED_ZONE_ID",
        )
        return self.environment or route53


class Vm(Section):
    """
    What `harbor-cache render` writes files for.
    """

    front: Literal["traefik", "self-signed"] = "traefik"
    """Who ends TLS: Traefik with a public certificate, or Harbor with one of our own CA."""
    ca_file: ConfigPath | None = None
    """The CA that nodes must trust, such as the `ca.crt` of `render certs`; none if public."""
    directory: _Directory = "/opt/harbor"
    """Where Harbor's installer and the rendered files lie."""
    data_directory: _Directory = "/data"
    """Where Harbor keeps its database, its keys and the cached images."""
    log_directory: _Directory = "/var/log/harbor"
    http_port: Annotated[int, Field(ge=1024, le=65535)] = 8080
    """Where Harbor listens on loopback when Traefik is in front."""
    harbor_version: _Version = _HARBOR
    traefik_version: _Version = _TRAEFIK
    acme: Acme = Acme()
