"""What an operator is told of an error that does not pass by itself."""

from __future__ import annotations

import ssl

import pytest
from redis.exceptions import ResponseError

from metronome_worker.broker.outages import is_outage, translate
from metronome_worker.errors import OperatorError

URL = "rediss://redis.example.org/0?ssl_ca_certs=ca.pem"


def refusal(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"certificate verify failed: {message}")
    error.verify_code, error.verify_message = code, message
    return error


@pytest.mark.parametrize(
    ("code", "message", "advised", "not_advised"),
    [
        (19, "self-signed certificate in certificate chain", "ssl_ca_certs=FILE", "RFC 5280"),
        (62, "Hostname mismatch, certificate is not valid for 'x'", "ssl_check_hostname=no", "RFC 5280"),
        (85, "Missing Authority Key Identifier", "openssl verify -x509_strict", "Name the authority"),
        (92, "CA cert does not include key usage extension", "keyUsage=critical,keyCertSign", "Name the authority"),
    ],
)
def test_certificate_that_is_not_trusted_is_told_with_what_to_do_about_that(
    code: int, message: str, advised: str, not_advised: str
) -> None:
    told = translate(refusal(code, message), URL)
    assert isinstance(told, OperatorError)
    assert (told.what, told.reason) == ("the certificate of Redis is not trusted at", message)
    assert advised in told.advice
    assert not_advised not in told.advice


def test_server_that_runs_a_slow_script_of_somebody_else_is_waited_for() -> None:
    assert is_outage(ResponseError("BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN."))
    assert not is_outage(ResponseError("BUSYGROUP Consumer Group name already exists"))
