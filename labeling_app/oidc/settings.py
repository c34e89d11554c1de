"""The settings of a login by OpenID Connect. The secret comes from a file or the environment, never as an option."""

from __future__ import annotations

import importlib.util
import ipaddress
import os
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from align.errors import RecipeError, SystemLimit

SECRET = "ALIGN_OIDC_SECRET"
"""The environment variable with the client's secret."""


@dataclass(frozen=True)
class Settings:
    """What the provider knows this app by. name: of the provider, as the button says it."""

    issuer: str
    client: str
    secret: str = field(repr=False)
    name: str


def settings_of(issuer: str, client: str, secret_file: Path | None, name: str) -> Settings | None:
    """Options as settings; None if nobody asks for this login.

    Raises RecipeError for what is missing or unsafe, SystemLimit if Authlib is not installed.
    """
    if not issuer:
        if client or secret_file or name:
            raise RecipeError(
                "a login by OpenID Connect needs an issuer", where="--oidc-issuer", allowed=_ISSUER, remedy=_NAME
            )
        return None
    if not safe(issuer) or urlsplit(issuer).query or urlsplit(issuer).fragment:
        raise RecipeError(f"`{issuer}` is no issuer", where="--oidc-issuer", allowed=_ISSUER, remedy=_NAME)
    if not client:
        remedy = "register this app with the provider; its redirect URI ends in /login/oidc/callback"
        raise RecipeError("the client id is missing", where="--oidc-client", remedy=remedy)
    secret = _secret(secret_file)
    if any(importlib.util.find_spec(package) is None for package in ("authlib", "httpx2")):
        raise SystemLimit("Authlib is not installed", where="--oidc-issuer", remedy="pip install 'rlhf-align[oidc]'")
    return Settings(issuer, client, secret, name or urlsplit(issuer).netloc)


def safe(url: object) -> bool:
    """Whether a secret may be sent there: by https, or without leaving this machine."""
    try:
        parts = urlsplit(url) if isinstance(url, str) else urlsplit("")
        return bool(parts.hostname) and (parts.scheme == "https" or parts.scheme == "http" and _here(parts.hostname))
    except ValueError:
        return False


_ISSUER = "the provider's https address, such as https://login.example.org/realms/team"
_NAME = "name it: --oidc-issuer https://...; or leave out the options of OpenID Connect"


def _here(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"


_KEEP = f"write it into a file, and name that: --oidc-secret-file FILE; or set {SECRET}"


def _secret(file: Path | None) -> str:
    try:
        secret = file.read_text("utf-8").strip() if file else os.environ.get(SECRET, "").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not in UTF-8"
        raise RecipeError(f"the client's secret cannot be read: {why}", where=str(file), remedy=_KEEP) from None
    if not secret:
        raise RecipeError(
            "the client's secret is missing",
            where=str(file) if file else "--oidc-secret-file",
            allowed=f"a file with nothing else in it, or {SECRET} in the environment",
            remedy=_KEEP,
        )
    return secret
