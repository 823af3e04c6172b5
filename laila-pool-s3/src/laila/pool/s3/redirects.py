"""Redirects: the client library follows them, and takes a session token along to any host.

On the way to another host it drops the signature, but neither ``x-amz-security-token`` nor a customer's key,
and it has no option that forbids redirects. But it has an option that says which hosts are reached without a
proxy. So this module names a proxy address where nothing can listen, for every host except the pool's own. A
redirect to another host then fails before anything is sent. That does not tell the ports of one host apart.
Over TLS the certificate does. Over plain http the service itself is named as the proxy, which HTTP demands of
every server to understand: then each request goes to it, also after a redirect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from laila.contract import shown_url
from laila.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from obstore.store import ClientConfig

__all__ = ["NOWHERE", "redirects_refused"]

NOWHERE = "127.0.0.1:0"
"""An address without connections: there is no port 0."""

_METADATA = ("169.254.169.254", "169.254.170.2", "169.254.170.23", "fd00:ec2::254", "fd00:ec2::23")
_OWN_ADDRESSES = (
    "AWS_METADATA_ENDPOINT",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_ENDPOINT_URL_STS",
    "AWS_ENDPOINT_URL",
)
"""Variables that say where the keys of a role are fetched."""


def redirects_refused(
    endpoint: str | None, region: str, bucket: str, environment: Mapping[str, str], *, token: bool, role: bool
) -> ClientConfig:
    """Return options of the client that keep redirects from taking secrets to another host.

    ``token`` says that requests carry a secret beside the signature, ``role`` that the library fetches keys
    by itself. Raises :class:`~laila.errors.SettingsError` if that is impossible: a proxy that the environment
    names goes anywhere.
    """
    hosts = _hosts(endpoint, region, bucket)
    if role:
        hosts += [*_METADATA, f"sts.{region}.amazonaws.com", *_own_hosts(environment)]
    if _goes_by_proxy(endpoint, hosts[0], environment):
        if token and endpoint is not None:
            raise SettingsError(
                f"requests to {shown_url(endpoint)} would go through a proxy that the environment names, "
                "where a redirect could take the session token (or the customer's key) to another host: name "
                "the host in NO_PROXY, or use keys without a token",
                option="endpoint_url",
            )
        return {}
    if token and endpoint is not None and endpoint.startswith("http:"):
        parts = urlsplit(endpoint)
        return {"proxy_url": f"http://{parts.netloc}", "proxy_excludes": ",".join(hosts[1:])}
    return {"proxy_url": f"http://{NOWHERE}", "proxy_excludes": ",".join(hosts)}


def _hosts(endpoint: str | None, region: str, bucket: str) -> list[str]:
    """Return the hosts of the bucket; a name includes the hosts below it."""
    if endpoint is not None:
        return [urlsplit(endpoint).hostname or ""]
    hosts = [f"s3.{region}.amazonaws.com"]
    if bucket.endswith("--x-s3"):  # a directory bucket
        hosts.append(f"s3express-{bucket.split('--')[-2]}.{region}.amazonaws.com")
    return hosts


def _own_hosts(environment: Mapping[str, str]) -> list[str]:
    hosts: list[str] = []
    for name in _OWN_ADDRESSES:
        try:
            host = urlsplit(environment.get(name, "")).hostname
        except ValueError:  # the library reports it
            continue
        if host:
            hosts.append(host)
    return hosts


def _goes_by_proxy(endpoint: str | None, host: str, environment: Mapping[str, str]) -> bool:
    """Whether the user's environment sends requests for ``host`` through a proxy."""
    if environment.get("AWS_PROXY_URL"):
        return True
    proxies = getproxies()
    scheme = "https" if endpoint is None else endpoint.partition(":")[0]
    named = proxies.get(scheme) or proxies.get("all")
    return bool(named) and not proxy_bypass(host)
