"""The credentials of an S3 pool: found before the first request, so that no request waits for them.

Keys that belong together come from one place, never mixed: the options of the pool, a profile that the
options name, the ``AWS_*`` variables, or the profile files. The remaining sources (a web identity, a
container's or an instance's role) give keys that expire. The client fetches and renews those by itself.
"""

from __future__ import annotations

import configparser
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from laila.contract import shown
from laila.errors import SettingsError
from laila.pool.s3.errors import CredentialsError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from laila.pool.s3.settings import S3Settings

__all__ = ["Credentials", "Keys", "Profile", "find_credentials", "read_profile"]


class Keys(NamedTuple):
    """An access key, and the session token that was issued with it."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None

    def __repr__(self) -> str:
        return "Keys(…)"


class Credentials(NamedTuple):
    """What signs requests: ``keys``; nothing, if ``anonymous``; otherwise keys that the client fetches.

    ``source`` says in words where they come from.
    """

    source: str
    keys: Keys | None = None
    anonymous: bool = False


class Profile(NamedTuple):
    """One profile of the AWS files: its name and options, secrets among them."""

    name: str
    options: Mapping[str, str]

    def __repr__(self) -> str:
        return f"Profile({self.name!r}, …)"


def read_profile(name: str | None, environment: Mapping[str, str]) -> Profile | None:
    """Read profile ``name``, or the profile that ``AWS_PROFILE`` names, or the default profile.

    The credentials file overrides the config file. Returns None if nobody named a profile and there is no
    default profile. Raises :class:`~laila.errors.SettingsError` for a file that cannot be read, and for a
    named profile that is missing.
    """
    wanted = name or environment.get("AWS_PROFILE") or environment.get("AWS_DEFAULT_PROFILE")
    section = wanted or "default"
    options: dict[str, str] = {}
    looked: list[str] = []
    for variable, default, title in (
        ("AWS_CONFIG_FILE", "~/.aws/config", section if section == "default" else f"profile {section}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials", section),
    ):
        path = Path(environment.get(variable) or default).expanduser()
        looked.append(str(path))
        file = configparser.RawConfigParser()
        try:
            file.read_string(path.read_text(), str(path))
        except FileNotFoundError:
            continue
        except (OSError, UnicodeDecodeError, configparser.Error) as error:
            # The parser's message quotes the line, which may hold a secret.
            line = getattr(error, "lineno", None)
            where = str(path) if line is None else f"{path}, line {line}"
            raise SettingsError(
                f"the AWS profile file {where} cannot be read ({type(error).__name__}); correct it, or name "
                f"another one in {variable}",
                option="profile_name",
            ) from None
        if file.has_section(title):
            options.update(file.items(title))
    if options:
        return Profile(section, options)
    if wanted is None:
        return None
    raise SettingsError(
        f"there is no AWS profile {shown(wanted)} in {' or '.join(looked)}; give another profile_name=, "
        "or unset "
        "AWS_PROFILE",
        option="profile_name",
    )


def find_credentials(
    settings: S3Settings, profile: Profile | None, environment: Mapping[str, str]
) -> Credentials:
    """Find the credentials that sign requests. Raises if there are none, or only half of them."""
    if settings.anonymous:
        return Credentials("anonymous=True: requests are not signed", anonymous=True)
    if settings.access_key_id or settings.secret_access_key:
        return Credentials(
            "the pool's options",
            _complete(
                settings.access_key_id,
                settings.secret_access_key,
                settings.session_token,
                "the pool's options",
            ),
        )
    if settings.profile_name is not None and profile is not None:
        return _of_profile(profile)
    key_id, secret = environment.get("AWS_ACCESS_KEY_ID"), environment.get("AWS_SECRET_ACCESS_KEY")
    if key_id or secret:
        token = environment.get("AWS_SESSION_TOKEN") or None
        source = "the environment (AWS_ACCESS_KEY_ID, …)"
        return Credentials(source, _complete(key_id, secret, token, source))
    if profile is not None and _has_identity(profile):
        return _of_profile(profile)
    if environment.get("AWS_WEB_IDENTITY_TOKEN_FILE") and environment.get("AWS_ROLE_ARN"):
        return Credentials("the web identity of AWS_WEB_IDENTITY_TOKEN_FILE")
    if environment.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") or environment.get(
        "AWS_CONTAINER_CREDENTIALS_FULL_URI"
    ):
        return Credentials("the role of this container")
    if environment.get("AWS_EC2_METADATA_DISABLED", "").lower() != "true" and (
        environment.get("AWS_METADATA_ENDPOINT") or _is_instance()
    ):
        return Credentials("the role of this instance")
    raise CredentialsError(
        f"no credentials for bucket {shown(settings.bucket_name)}: give access_key_id= and "
        "secret_access_key=, or "
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or write a profile into ~/.aws/credentials; for a "
        "public bucket pass anonymous=True",
        pool=settings.bucket_name,
        bucket=settings.bucket_name,
        key=None,
        code=None,
        status=None,
    )


_INDIRECT = ("role_arn", "sso_session", "sso_start_url", "credential_process", "credential_source")


def _has_identity(profile: Profile) -> bool:
    """Whether the profile says who signs; many profiles have only a region."""
    return any(name in profile.options for name in ("aws_access_key_id", *_INDIRECT))


def _of_profile(profile: Profile) -> Credentials:
    options = profile.options
    source = f"the AWS profile {shown(profile.name)}"
    if "aws_access_key_id" not in options and any(name in options for name in _INDIRECT):
        raise SettingsError(
            f"{source} gets its keys by a role, a sign-on or a program, which this pool does not do; run "
            f"`aws configure export-credentials --profile {profile.name} --format env`; set what it prints",
            option="profile_name",
        )
    token = options.get("aws_session_token")
    keys = _complete(options.get("aws_access_key_id"), options.get("aws_secret_access_key"), token, source)
    return Credentials(source, keys)


def _complete(access_key_id: str | None, secret: str | None, token: str | None, source: str) -> Keys:
    missing = "access_key_id" if not access_key_id else "secret_access_key" if not secret else None
    if missing is not None or not access_key_id or not secret:
        raise SettingsError(
            f"{source}: half of the credentials is missing, {missing}; both halves must come from one place",
            option=missing or "access_key_id",
        )
    return Keys(access_key_id, secret, token)


def _is_instance() -> bool:
    """Whether this machine says that it is one of EC2's, found without a request that may hang elsewhere."""
    folder = Path(os.sep, "sys", "devices", "virtual", "dmi", "id")
    for name, start in (("sys_vendor", "amazon ec2"), ("product_uuid", "ec2")):
        try:
            if (folder / name).read_text().strip().lower().startswith(start):
                return True
        except OSError:
            continue
    return False
