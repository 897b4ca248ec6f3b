"""The URL that says where Redis is: parsed into one struct, and as it may be shown.

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]
    unix:///PATH?db=DB
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/SERVICE[/DB]
    redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]

``rediss`` in the place of ``redis`` means TLS, for Sentinels too.  What redis-py would pass over without a word (a
database that is no number, a setting that it does not know) is refused.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

from msgspec import Struct

from metronome_worker.errors import OperatorError

_DEFAULT_PORT: Final = 6379
_SENTINEL_PORT: Final = 26379
_TLS_SETTINGS: Final = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")
_CERT_REQS: Final = ("required", "optional", "none")
_WORDS: Final = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
_QUOTING: Final = "inside a password write %23 for #, %2F for /, %3A for :, %40 for @"
_PORT: Final = "the port must be a number from 1 to 65535"


class Kind(Enum):
    """What stands behind a URL; each but the socket comes with TLS as well."""

    SERVER = "redis"
    SOCKET = "unix"
    SENTINEL = "redis+sentinel"
    CLUSTER = "redis+cluster"


_ADVICE: Final = {
    Kind.SERVER: "Write redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://… for TLS, or unix:///PATH?db=DB; "
    "redis+sentinel://… and redis+cluster://… are in docs/operations.md.",
    Kind.SENTINEL: "Write redis+sentinel://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…]/SERVICE[/DB], "
    "or rediss+sentinel://… for TLS.",
    Kind.CLUSTER: "Write redis+cluster://[USER:PASSWORD@]HOST[:PORT][,HOST[:PORT]…], or rediss+cluster://… for TLS.",
}
_SCHEMES: Final = {
    "redis": (Kind.SERVER, False),
    "rediss": (Kind.SERVER, True),
    "unix": (Kind.SOCKET, False),
    "redis+sentinel": (Kind.SENTINEL, False),
    "rediss+sentinel": (Kind.SENTINEL, True),
    "redis+cluster": (Kind.CLUSTER, False),
    "rediss+cluster": (Kind.CLUSTER, True),
}


class Endpoint(NamedTuple):
    """Where one server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class TlsSettings(Struct, frozen=True, kw_only=True):
    """As redis-py names them in a URL.  ``cert_reqs``: required, optional or none.

    Other than in redis-py 5 the host's name is checked unless that is switched off: else any certificate of any
    authority that the machine trusts would do.
    """

    ca_certs: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    cert_reqs: str = "required"
    check_hostname: bool = True


class Login(Struct, frozen=True, kw_only=True):
    """Who we are to a server; both None where nobody asks."""

    username: str | None = None
    password: str | None = None


class RedisUrl(Struct, frozen=True, kw_only=True):
    """``endpoints``: the server, the Sentinels, or some nodes of the cluster.  ``path``: of the socket.

    ``service``: the name under which the Sentinels watch the primary; ``sentinel_login`` is for themselves.
    """

    kind: Kind
    endpoints: tuple[Endpoint, ...] = ()
    tls: TlsSettings | None = None
    login: Login = Login()
    db: int = 0
    path: str = ""
    service: str = ""
    sentinel_login: Login = Login()

    @property
    def where(self) -> str:
        """For messages: ``HOST:PORT``, the socket's path, ``SERVICE of`` the Sentinels, the nodes."""
        if self.kind is Kind.SOCKET:
            return self.path
        places = ",".join(map(str, self.endpoints))
        return f"{self.service} of {places}" if self.kind is Kind.SENTINEL else places


def redact(url: str) -> str:
    """The URL as it may be shown: without its passwords, also when it is malformed."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "", url
    userinfo, at, host = rest.rpartition("@")
    if at:
        user, has_password, _ = userinfo.partition(":")
        # Without a colon it is a user's name to Redis, but a password to many who write it.
        rest = (f"{user}:***" if has_password else "***") + "@" + host
    return re.sub(r"(?i)\b(\w*(?:pas|user)\w*)=[^&#]*", r"\1=***", scheme + separator + rest)


def address(url: str) -> str:
    """Where Redis is, for messages."""
    return parse_url(url).where


def parse_url(url: str) -> RedisUrl:
    """Raises ``OperatorError`` for a URL that is wrong, with the reason, and without its password."""
    scheme, separator, rest = url.partition("://")
    found = _SCHEMES.get(scheme.lower()) if separator else None
    if found is None:
        names = [name for name in _SCHEMES if "+" not in name]
        raise _url_error(url, Kind.SERVER, f"the scheme must be {', '.join(names[:-1])} or {names[-1]}")
    kind, has_tls = found
    try:
        return _parse(kind, has_tls, rest)
    except ValueError as wrong:
        raise _url_error(url, kind, str(wrong)) from None


def _url_error(url: str, kind: Kind, reason: str) -> OperatorError:
    advice = _ADVICE.get(kind, _ADVICE[Kind.SERVER])
    return OperatorError("this is not the URL of a Redis:", value=redact(url), reason=reason, advice=advice)


def _parse(kind: Kind, has_tls: bool, rest: str) -> RedisUrl:
    """Raises ``ValueError`` with the reason."""
    if "#" in rest:
        raise ValueError(f"there is a # in it; {_QUOTING}")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    userinfo, at, hosts = authority.rpartition("@")
    settings = _settings(kind, has_tls, query)
    user, _, password = userinfo.partition(":")
    # An @ behind the first slash: a slash in the password has cut the URL in the wrong place.
    endpoints = () if kind is Kind.SOCKET else _endpoints(kind, hosts, hint="" if "@" not in path else f"; {_QUOTING}")
    socket, service, db = _place(kind, slash + path, settings)
    return RedisUrl(
        kind=kind,
        endpoints=endpoints,
        tls=_tls(settings) if has_tls else None,
        login=Login(username=unquote(user) or None, password=unquote(password) or None) if at else Login(),
        db=db,
        path=socket,
        service=service,
        sentinel_login=Login(username=settings.get("sentinel_username"), password=settings.get("sentinel_password")),
    )


def _endpoints(kind: Kind, hosts: str, hint: str) -> tuple[Endpoint, ...]:
    parts = hosts.split(",")
    if kind is Kind.SERVER and len(parts) > 1:
        raise ValueError("several hosts are for redis+sentinel:// and redis+cluster://")
    if kind is not Kind.SERVER and not all(parts):
        raise ValueError("the name of a host is missing")
    return tuple(_endpoint(part, _SENTINEL_PORT if kind is Kind.SENTINEL else _DEFAULT_PORT, hint) for part in parts)


def _endpoint(text: str, default_port: int, hint: str) -> Endpoint:
    found = re.fullmatch(r"(\[[^\[\]]+\]|[^:\[\]]*)(?::(.*))?", text)
    # What stands in the place of the port is the password when that holds a slash: it is not repeated here.
    if found is None:
        raise ValueError(f"{_PORT}{hint}")
    host, port = found[1].strip("[]"), found[2] or default_port
    if not re.fullmatch(r"\d{1,5}", str(port), re.ASCII) or not 1 <= int(port) <= 65535:
        raise ValueError(f"{_PORT}{hint}")
    return Endpoint(unquote(host) or "localhost", int(port))


def _place(kind: Kind, path: str, settings: dict[str, str]) -> tuple[str, str, int]:
    """The socket's path, the service's name, the database."""
    db = int(settings.get("db", 0))
    match kind:
        case Kind.SOCKET:
            if len(path) < 2:
                raise ValueError("the path of the socket is missing")
            return unquote(path), "", db
        case Kind.SERVER:
            if not re.fullmatch(r"(/\d*)?", path, re.ASCII):
                raise ValueError("what follows the host must be the number of a database, as in /0")
            return "", "", db if "db" in settings else int(path[1:] or 0)
        case Kind.CLUSTER:
            if path not in ("", "/", "/0"):
                raise ValueError("a cluster has one database only, number 0")
            return "", "", 0
        case Kind.SENTINEL:
            found = re.fullmatch(r"/([^/]+)(?:/(\d*))?", path, re.ASCII)
            if found is None:
                raise ValueError("what follows the hosts must be the name of the service, as in /mymaster")
            return "", unquote(found[1]), db if "db" in settings else int(found[2] or 0)


def _settings(kind: Kind, has_tls: bool, query: str) -> dict[str, str]:
    known = [] if kind is Kind.CLUSTER else ["db"]
    known += ["sentinel_username", "sentinel_password"] if kind is Kind.SENTINEL else []
    known += _TLS_SETTINGS if has_tls else ()
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in known:
            hint = "; it is for TLS, where the URL begins with rediss" if name in _TLS_SETTINGS else ""
            raise ValueError(f"unknown setting {name}; known: {', '.join(known) or 'none'}{hint}")
        found.setdefault(name, value)
    if not re.fullmatch(r"\d+", found.get("db", "0"), re.ASCII):
        raise ValueError("db must be a number")
    return found


def _tls(settings: dict[str, str]) -> TlsSettings:
    reqs, check = settings.get("ssl_cert_reqs", "required"), settings.get("ssl_check_hostname", "yes").lower()
    certfile, keyfile = settings.get("ssl_certfile"), settings.get("ssl_keyfile")
    if reqs not in _CERT_REQS:
        raise ValueError(f"ssl_cert_reqs must be {', '.join(_CERT_REQS[:-1])} or {_CERT_REQS[-1]}")
    if check not in _WORDS:
        raise ValueError("ssl_check_hostname must be yes or no")
    if (certfile is None) != (keyfile is None):
        raise ValueError("ssl_certfile and ssl_keyfile belong together (both may name the same file)")
    return TlsSettings(
        ca_certs=settings.get("ssl_ca_certs"),
        certfile=certfile,
        keyfile=keyfile,
        cert_reqs=reqs,
        check_hostname=_WORDS[check] and reqs != "none",
    )
