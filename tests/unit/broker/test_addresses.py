"""What a Redis URL may say, and what is said of one that is wrong."""

from __future__ import annotations

import pytest

from metronome_worker.broker.addresses import (
    Endpoint,
    Kind,
    Login,
    RedisUrl,
    TlsSettings,
    address,
    parse_url,
    redact,
)
from metronome_worker.broker.connection import open_client
from metronome_worker.errors import OperatorError


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://localhost:6379/0", "redis://localhost:6379/0"),
        ("redis://ann:secret@host/0", "redis://ann:***@host/0"),
        ("redis://:secret@host", "redis://:***@host"),
        ("redis://secret@host", "redis://***@host"),
        ("redis://ann:se/cr@et@host:1/0", "redis://ann:***@host:1/0"),
        ("ann:secret@host:6379", "ann:***@host:6379"),
        ("redis://ann:se://cret@host", "redis://ann:***@host"),
        ("redis://host/0?password=secret&db=1", "redis://host/0?password=***&db=1"),
        ("redis+sentinel://u:secret@a,b:1/s?db=1", "redis+sentinel://u:***@a,b:1/s?db=1"),
        ("redis+sentinel://a/s?sentinel_password=secret", "redis+sentinel://a/s?sentinel_password=***"),
    ],
)
def test_password_is_never_shown(url: str, shown: str) -> None:
    assert redact(url) == shown


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("localhost:6379", "scheme must be redis, rediss or unix"),
        ("http://localhost", "scheme must be redis, rediss or unix"),
        ("", "scheme must be"),
        ("redis://ann:secret@host:port/0", "port must be a number"),
        ("redis://ann:secret@host:0/0", "port must be a number"),
        ("redis://ann:secret@host:70000/0", "port must be a number"),
        ("redis://ann:sec/ret@host:1/0", "port must be a number"),
        ("redis://ann:sec#ret@host:1/0", "%23"),
        ("redis://host/zero", "number of a database"),
        ("redis://host/0/1", "number of a database"),
        ("redis://host/0?tiemout=1", "unknown setting tiemout; known: db"),
        ("redis://host/0?db=x", "db must be a number"),
        ("unix://", "path of the socket is missing"),
        ("redis://a,b", "several hosts are for redis+sentinel:// and redis+cluster://"),
        ("redis://host/0?ssl_ca_certs=ca.pem", "it is for TLS, where the URL begins with rediss"),
        ("rediss://host?ssl_cert_reqs=never", "ssl_cert_reqs must be required, optional or none"),
        ("rediss://host?ssl_check_hostname=perhaps", "ssl_check_hostname must be yes or no"),
        ("rediss://host?ssl_certfile=a.pem", "ssl_certfile and ssl_keyfile belong together"),
        ("redis://[::1/0", "port must be a number"),
        ("redis+sentinel://a,b", "must be the name of the service"),
        ("redis+sentinel://a,b/", "must be the name of the service"),
        ("redis+sentinel://a/mymaster/x", "must be the name of the service"),
        ("redis+sentinel://a,,b/mymaster", "the name of a host is missing"),
        ("redis+sentinel:///mymaster", "the name of a host is missing"),
        ("redis+sentinel://a/s?sentinel_pasword=secret", "known: db, sentinel_username, sentinel_password"),
        ("redis+cluster://a,b/1", "a cluster has one database only"),
        ("redis+cluster://a?db=0", "unknown setting db; known: none"),
        ("redis+cluster://a:7000,b:x", "port must be a number"),
        ("redis+cluster://", "the name of a host is missing"),
    ],
)
def test_wrong_url_is_refused_with_the_reason_and_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(OperatorError) as caught:
        open_client(url)
    assert reason in caught.value.reason
    scheme = url.partition("://")[0] if "+" in url else "redis"
    assert f"{scheme}://[USER:PASSWORD@]HOST[:PORT]" in caught.value.advice
    assert "secret" not in str(caught.value)
    assert "sec/ret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["redis://127.0.0.1:6379/0", "redis://host", "rediss://u:p@host:1/2?ssl_check_hostname=no", "unix:///s?db=1"]
)
def test_right_url_is_taken(url: str) -> None:
    open_client(url)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://", RedisUrl(kind=Kind.SERVER, endpoints=(Endpoint("localhost", 6379),))),
        (
            "REDIS://ann:p%40%2Fss@host:1/2",
            RedisUrl(
                kind=Kind.SERVER,
                endpoints=(Endpoint("host", 1),),
                login=Login(username="ann", password="p@/ss"),
                db=2,
            ),
        ),
        ("redis://host/2?db=3", RedisUrl(kind=Kind.SERVER, endpoints=(Endpoint("host", 6379),), db=3)),
        ("redis://[::1]:7/0", RedisUrl(kind=Kind.SERVER, endpoints=(Endpoint("::1", 7),))),
        ("unix:///run/re%20dis?db=4", RedisUrl(kind=Kind.SOCKET, path="/run/re dis", db=4)),
        (
            "rediss://:pw@host?ssl_ca_certs=/ca.pem&ssl_certfile=c&ssl_keyfile=k&ssl_check_hostname=No",
            RedisUrl(
                kind=Kind.SERVER,
                endpoints=(Endpoint("host", 6379),),
                login=Login(password="pw"),
                tls=TlsSettings(ca_certs="/ca.pem", certfile="c", keyfile="k", check_hostname=False),
            ),
        ),
        (
            "rediss://host?ssl_cert_reqs=none",
            RedisUrl(
                kind=Kind.SERVER,
                endpoints=(Endpoint("host", 6379),),
                tls=TlsSettings(cert_reqs="none", check_hostname=False),
            ),
        ),
        (
            "redis+sentinel://ann:pw@a,b:7,[::1]/my%20master/5?sentinel_username=x&sentinel_password=y",
            RedisUrl(
                kind=Kind.SENTINEL,
                endpoints=(Endpoint("a", 26379), Endpoint("b", 7), Endpoint("::1", 26379)),
                login=Login(username="ann", password="pw"),
                db=5,
                service="my master",
                sentinel_login=Login(username="x", password="y"),
            ),
        ),
        (
            "rediss+sentinel://a/s",
            RedisUrl(
                kind=Kind.SENTINEL,
                endpoints=(Endpoint("a", 26379),),
                service="s",
                tls=TlsSettings(),
            ),
        ),
        (
            "redis+cluster://a:7000,b/",
            RedisUrl(kind=Kind.CLUSTER, endpoints=(Endpoint("a", 7000), Endpoint("b", 6379))),
        ),
    ],
)
def test_url_is_understood(url: str, said: RedisUrl) -> None:
    assert parse_url(url) == said


@pytest.mark.parametrize(
    ("url", "where"),
    [
        ("redis://ann:pw@host/3", "host:6379"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
        ("redis+sentinel://:pw@a,b:7/mymaster", "mymaster of a:26379,b:7"),
        ("redis+cluster://:pw@a:7000,[::1]:7001", "a:7000,[::1]:7001"),
    ],
)
def test_messages_name_the_place_and_no_password(url: str, where: str) -> None:
    assert address(url) == where
