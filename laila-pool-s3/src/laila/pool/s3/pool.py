"""S3: the options, and how they become a connection."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal, Self
from urllib.parse import parse_qsl, unquote, urlsplit

from laila.contract import given_secrets, said, shown_url
from laila.errors import SettingsError
from laila.pool.s3.credentials import Credentials, Profile, find_credentials, read_profile
from laila.pool.s3.library import library
from laila.pool.s3.messages import Place
from laila.pool.s3.objects import ObjectPool
from laila.pool.s3.redirects import redirects_refused
from laila.pool.s3.settings import S3Settings, check_bucket, check_endpoint, check_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable

    from obstore.store import ClientConfig, RetryConfig, S3Config, S3Credential, S3Store

    from laila.contract import Transformation, TransformationSequence

__all__ = ["S3Pool"]

_DEFAULT_REGION = "us-east-1"
_CUSTOMER_KEY = "AWS_SSE_CUSTOMER_KEY_BASE64"


class S3Pool(ObjectPool):
    """A pool in a bucket of AWS S3, or of any compatible service (``endpoint_url``).

    Missing options come from ``laila.args``, the ``LAILA_S3_*`` and ``AWS_*`` variables and the AWS profile
    files. A write that has returned is as safe as the service keeps it; each entry is written whole or not at
    all. Any number of processes anywhere may use one bucket and prefix at the same time. The page
    ``docs/reference/pool-s3.md`` has the details.

    ``prefix`` begins the names of the pool's objects; the other options are those of :class:`S3Settings`. No
    request is made before the first use. Thread-safe; usable in forked children.

    Raises:
        CredentialsError: there are no credentials, or (at a request) the service refuses them.
        AccessDeniedError: the credentials may not do this.
        BucketNotFoundError: there is no such bucket.
        SlowDownError, UnreachableError, StalledError: the service did not do it, at any try within
        ``deadline``. ObjectStoreError: any other failure; the base of the others, and a
        :class:`~laila.errors.PoolError`.
    """

    settings: S3Settings

    @given_secrets
    def __init__(
        self,
        bucket_name: str | None = None,
        access_key_id: str | None = None,
        secret_access_key: str | None = None,
        region_name: str | None = None,
        endpoint_url: str | None = None,
        prefix: str | None = None,
        nickname: str | None = None,
        *,
        transformations: Iterable[str | Transformation] | TransformationSequence = (),
        write: Literal["through"] | None = None,
        session_token: str | None = None,
        profile_name: str | None = None,
        anonymous: bool | None = None,
        virtual_hosted: bool | None = None,
        ca_bundle: str | os.PathLike[str] | None = None,
        conditional_create: bool | None = None,
        bulk_delete: bool | None = None,
        concurrency: int | None = None,
        part_bytes: int | None = None,
        timeout: float | None = None,
        retries: int | None = None,
        deadline: float | None = None,
        allow_http: bool | None = None,
    ) -> None:
        if isinstance(prefix, str):
            try:
                check_prefix(prefix)
            except ValueError as error:
                raise SettingsError(f"prefix is wrong: {said(error)}", option="prefix") from error
        settings = S3Settings.resolve(
            {
                "bucket_name": bucket_name,
                "access_key_id": access_key_id,
                "secret_access_key": secret_access_key,
                "region_name": region_name,
                "endpoint_url": endpoint_url,
                "key_prefix": prefix,
                "session_token": session_token,
                "profile_name": profile_name,
                "anonymous": anonymous,
                "virtual_hosted": virtual_hosted,
                "ca_bundle": os.fspath(ca_bundle) if isinstance(ca_bundle, os.PathLike) else ca_bundle,
                "conditional_create": conditional_create,
                "bulk_delete": bulk_delete,
                "concurrency": concurrency,
                "part_bytes": part_bytes,
                "timeout": timeout,
                "retries": retries,
                "deadline": deadline,
                "allow_http": allow_http,
            }
        )
        check_bucket(settings.bucket_name, in_host=settings.virtual_hosted)
        _check_place(settings)
        profile = _profile(settings)
        options = profile.options if profile is not None else {}
        credentials = find_credentials(settings, profile, os.environ)
        endpoint = settings.endpoint_url or options.get("endpoint_url")
        if endpoint is not None:
            check_endpoint(endpoint, allow_http=settings.allow_http)
        region = settings.region_name or options.get("region") or _DEFAULT_REGION
        super().__init__(settings, nickname=nickname, transformations=transformations, write=write)
        if not settings.conditional_create:
            self.creation = "process"  # type: ignore[misc]  # for this pool, not the class
        place = Place(
            lambda: self.label,
            settings.bucket_name,
            endpoint or f"AWS, {region}",
            credentials.source,
            _secrets(credentials),
        )
        config = _configuration(settings, endpoint, region, credentials)
        in_the_clear = endpoint is not None and endpoint.startswith("http:")
        authorities = None if in_the_clear else _authorities(settings.ca_bundle)
        held = redirects_refused(
            config.get("endpoint"),
            region,
            settings.bucket_name,
            os.environ,
            token=_bears_secrets(credentials),
            role=credentials.keys is None and not credentials.anonymous,
        )

        def open_store(limits: ClientConfig, again: RetryConfig) -> S3Store:
            client: ClientConfig = {**limits, **held, "allow_http": in_the_clear}
            if authorities is not None:
                client["root_certificate"] = authorities
            try:
                return library().S3Store(
                    config=config,
                    client_options=client,
                    retry_config=again,
                    credential_provider=_provider(credentials),  # type: ignore[arg-type]  # None asks the library's own
                )
            except (library().BaseError, ValueError) as error:
                reason = said(error).partition("\n")[0]
            raise SettingsError(
                f"S3Pool cannot be opened with these options: {reason}", option="endpoint_url"
            )

        self._connect(open_store, place)

    @classmethod
    def from_url(cls, url: str, **options: object) -> Self:
        """Open ``s3://bucket/prefix``, with options in the query: ``?endpoint_url=https://…&region_name=…``.

        ``options`` override the query. With ``s3://`` alone the bucket comes from ``options``, ``laila.args``
        or ``LAILA_S3_BUCKET_NAME``. In the path ``%`` quotes characters that a URL cannot hold. Raises
        :class:`~laila.errors.SettingsError` for any other URL, also for keys in the URL: URLs are shown in
        logs and lists of processes.
        """
        parts = urlsplit(url)
        secret = sorted({name for name, _ in parse_qsl(parts.query)} & set(S3Settings.secret_names()))
        if secret or "@" in parts.netloc:
            raise SettingsError(
                f"the URL of an S3 pool holds {', '.join(secret) or 'a user and password'}, and a URL is no "
                "place for secrets; give them as arguments, in laila.args, or in the AWS_* variables",
                option=secret[0] if secret else "url",
            )
        if parts.scheme != "s3" or parts.fragment:
            raise SettingsError(
                f"{shown_url(url)} is no URL of an S3 pool: write s3://bucket/prefix", option="url"
            )
        settings = S3Settings.parse_query(parts.query)
        if "key_prefix" in settings:
            settings["prefix"] = settings.pop("key_prefix")
        if parts.netloc:
            settings["bucket_name"] = unquote(parts.netloc)
        if parts.path.strip("/"):
            settings["prefix"] = unquote(parts.path)
        return cls(**{**settings, **options})  # type: ignore[arg-type]  # checked by S3Settings

    def options(self) -> dict[str, object]:
        """Return the options that :class:`laila.contract.Pool` lists."""
        options = super().options()
        options["prefix"] = options.pop("key_prefix")
        return options

    def _place(self) -> str:
        return f"s3://{self.settings.bucket_name}/{self._root}".rstrip("/")


def _check_place(settings: S3Settings) -> None:
    """Raise if data has named the service, and the user's own credentials would be sent there."""
    if settings.at_own_place or settings.anonymous or settings.access_key_id:
        return
    raise SettingsError(
        "endpoint_url, or ca_bundle, comes from an environment or a URL from elsewhere, and your own "
        "credentials go only to the service that your own configuration names: set LAILA_S3_ENDPOINT_URL "
        "(or LAILA_S3_CA_BUNDLE) to the same, or give access_key_id, secret_access_key and session_token as "
        "secrets=, or anonymous=True for a public bucket",
        option="endpoint_url",
    )


def _profile(settings: S3Settings) -> Profile | None:
    try:
        return read_profile(settings.profile_name, os.environ)
    except SettingsError:
        # A caller who gives the keys needs no profile. Its region or endpoint is used if the profile can be
        # read.
        if settings.profile_name is not None or not (settings.access_key_id or settings.anonymous):
            raise
        return None


def _configuration(
    settings: S3Settings, endpoint: str | None, region: str, credentials: Credentials
) -> S3Config:
    """Return the library's options. All are named, since it fills missing ones from variables of its own."""
    config: S3Config = {
        "bucket": settings.bucket_name,
        "region": region,
        "skip_signature": credentials.anonymous,
        "virtual_hosted_style_request": settings.virtual_hosted,
        "conditional_put": "etag",
        "disable_bulk_delete": not settings.bulk_delete,
    }
    if endpoint is not None:
        if settings.virtual_hosted:
            parts = urlsplit(endpoint)
            endpoint = parts._replace(netloc=f"{settings.bucket_name}.{parts.netloc}").geturl()
        config["endpoint"] = config["aws_endpoint_url_s3"] = endpoint.rstrip("/")
    return config


def _provider(credentials: Credentials) -> object:
    """Return the keys in the library's form: it asks nowhere else, and its objects do not show them."""
    keys = credentials.keys
    if keys is None:
        return None

    def provide() -> S3Credential:
        return {
            "access_key_id": keys.access_key_id,
            "secret_access_key": keys.secret_access_key,
            "token": keys.session_token,
            "expires_at": None,
        }

    return provide


def _bears_secrets(credentials: Credentials) -> bool:
    """Whether requests carry a secret beside their signature. The keys of a role come with a token."""
    if credentials.anonymous:
        return _CUSTOMER_KEY in os.environ
    return credentials.keys is None or bool(credentials.keys.session_token) or _CUSTOMER_KEY in os.environ


def _secrets(credentials: Credentials) -> tuple[str, ...]:
    keys = credentials.keys
    known = () if keys is None else (keys.secret_access_key, keys.session_token)
    return tuple(secret for secret in (*known, os.environ.get(_CUSTOMER_KEY)) if secret)


def _authorities(path: str | None) -> bytes | None:
    if path is None:
        return None
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return file.read()
    except OSError as error:
        # The message does not repeat the name: it may be the value of another option, given here by mistake.
        raise SettingsError(
            f"the file that ca_bundle names cannot be read: {error.strerror}", option="ca_bundle"
        ) from None
