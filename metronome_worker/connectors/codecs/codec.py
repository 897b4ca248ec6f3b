"""Codecs: values to bytes and back.  Each event is a document of its own; what stands between them is not theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import msgspec
from msgspec import Struct

from metronome_worker.connectors.codecs.errors import CodecError
from metronome_worker.runtime.errors import EvalError
from metronome_worker.runtime.values import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from metronome_worker.plan.model import ProcessorSettings, Value


Encoded = TypeVar("Encoded")


class Codec(Protocol):
    """What connectors need of a codec.  Stateless."""

    @property
    def name(self) -> str: ...

    def decode(self, data: bytes) -> Value:
        """The value of one document; raises ``CodecError`` when the bytes are none."""
        ...

    def encode(self, value: Value) -> bytes:
        """One document; raises ``CodecError`` for a value that has none."""
        ...

    def encode_many(self, values: Sequence[Value]) -> list[bytes]:
        """One document per value."""
        ...

    def encode_separated(self, values: Sequence[Value], separator: bytes) -> bytes:
        """All documents in their order, each with ``separator`` behind it; the quickest way to write a batch."""
        ...


class JsonConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """``sorted`` puts the fields of every record, at any depth, in the order of their names."""

    mode: Literal["sorted", "unsorted"] = "unsorted"


class NoConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """For what can be configured in no way."""


class JsonCodec:
    """Minified JSON.  ``2.0`` stays a float; NaN and infinities, which JSON has not, become ``null``."""

    def __init__(self, name: str, *, is_sorted: bool) -> None:
        self._name = name
        self._encoder = msgspec.json.Encoder(order="deterministic" if is_sorted else None)

    @property
    def name(self) -> str:
        return self._name

    def decode(self, data: bytes) -> Value:
        try:
            return parse_json(data)
        except EvalError as error:
            raise CodecError(f"codec {self._name}: {error.message}") from None

    def encode(self, value: Value) -> bytes:
        return self._guarded(self._encoder.encode, value)

    def encode_many(self, values: Sequence[Value]) -> list[bytes]:
        return self._guarded(lambda all_: list(map(self._encoder.encode, all_)), values)

    def encode_separated(self, values: Sequence[Value], separator: bytes) -> bytes:
        lines = self._guarded(self._encoder.encode_lines, values)
        return lines if separator == b"\n" else lines.replace(b"\n", separator)  # JSON has no raw newline inside

    def _guarded(self, encode: Callable[[Any], Encoded], value: Any) -> Encoded:
        try:
            return encode(value)
        except RecursionError:
            raise CodecError(f"codec {self._name}: a value is nested too deeply to be written") from None
        except UnicodeEncodeError:
            raise CodecError(f"codec {self._name}: a string holds half of a surrogate pair") from None


class StringCodec:
    """Text in UTF-8: strings as they are, what else is to be written as JSON.  What is read is always a string."""

    name = "string"

    def __init__(self) -> None:
        self._json = JsonCodec(self.name, is_sorted=False)

    def decode(self, data: bytes) -> Value:
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise CodecError(f"codec string: byte {error.start} is no UTF-8 ({error.reason})") from None

    def encode(self, value: Value) -> bytes:
        return self._utf8(value) if type(value) is str else self._json.encode(value)

    def encode_many(self, values: Sequence[Value]) -> list[bytes]:
        return [self.encode(value) for value in values]

    def encode_separated(self, values: Sequence[Value], separator: bytes) -> bytes:
        if not values:
            return b""
        if all(type(value) is str for value in values):
            return self._utf8(separator.decode().join([*values, ""]))
        return separator.join([*self.encode_many(values), b""])

    def _utf8(self, string: str) -> bytes:
        try:
            return string.encode()
        except UnicodeEncodeError:
            raise CodecError("codec string: a string holds half of a surrogate pair") from None


class CodecKind(Struct, frozen=True, kw_only=True):
    """A codec by name: its settings and how it is made of them."""

    name: str
    config_type: type[Struct]
    make: Callable[[Any], Codec]


CODECS: tuple[CodecKind, ...] = (
    CodecKind(
        name="json",
        config_type=JsonConfig,
        make=lambda config: JsonCodec("json", is_sorted=config.mode == "sorted"),
    ),
    CodecKind(name="json-sorted", config_type=NoConfig, make=lambda _: JsonCodec("json-sorted", is_sorted=True)),
    CodecKind(name="string", config_type=NoConfig, make=lambda _: StringCodec()),
)


def make_codec(settings: ProcessorSettings) -> Codec:
    """The codec of these settings, which ``check_processor`` has found nothing wrong with."""
    [kind] = [kind for kind in CODECS if kind.name == settings.name]
    return kind.make(msgspec.convert(settings.config, kind.config_type))
