"""Codecs and what stands before and behind them."""

from __future__ import annotations

import contextlib
import math
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metronome_worker.connectors.codecs import (
    CodecError,
    OutputEncoder,
    check_processor,
    known_codecs,
    known_postprocessors,
    known_preprocessors,
    make_codec,
    make_preprocessor,
)
from metronome_worker.plan.model import ProcessorSettings

text = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=4)
values = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**63), 2**64 - 1),
        st.floats(allow_nan=False, allow_infinity=False),
        text,
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(text, inner, max_size=4)),
    max_leaves=8,
)


def settings(name: str, **config: Any) -> ProcessorSettings:
    return ProcessorSettings(name=name, config=config)


def encoder(codec: str, *separators: str, **config: Any) -> OutputEncoder:
    behind = [settings("separate", separator=separator) for separator in separators]
    return OutputEncoder(make_codec(settings(codec, **config)), behind)


# --- codecs --------------------------------------------------------------------------------------------------


@given(values)
def test_json_gives_back_what_it_was_given(value: Any) -> None:
    codec = make_codec(settings("json"))
    assert repr(codec.decode(codec.encode(value))) == repr(value)


@given(values)
def test_sorted_json_orders_the_fields_of_every_record(value: Any) -> None:
    def ordered(part: Any) -> Any:
        if isinstance(part, dict):
            return {key: ordered(part[key]) for key in sorted(part)}
        return [ordered(element) for element in part] if isinstance(part, list) else part

    expected = msgspec.json.encode(ordered(value))
    assert make_codec(settings("json-sorted")).encode(value) == expected
    assert make_codec(settings("json", mode="sorted")).encode(value) == expected


def test_json_keeps_the_order_of_fields_and_the_kind_of_numbers() -> None:
    value = {"b": 2.0, "a": 2, "big": 2**64 - 1, "é": "é\n"}
    assert (
        make_codec(settings("json")).encode(value) == '{"b":2.0,"a":2,"big":18446744073709551615,"é":"é\\n"}'.encode()
    )


def test_json_has_no_nan_so_null_is_written() -> None:
    assert make_codec(settings("json")).encode([math.nan, math.inf, -math.inf]) == b"[null,null,null]"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"{", "codec json: this is no JSON"),
        (b"", "this is no JSON"),
        (b"\xff", "this is no JSON"),
        (b"NaN", "this is no JSON"),
        (b"18446744073709551616", "does not fit into 64 bits"),
        (b'{"a": [-9223372036854775809]}', "does not fit into 64 bits"),
        (b"[" * 100_000 + b"]" * 100_000, "nested too deeply"),
    ],
)
def test_json_refuses_what_is_no_value(data: bytes, message: str) -> None:
    with pytest.raises(CodecError, match=message):
        make_codec(settings("json")).decode(data)


def test_json_takes_long_digits_that_are_no_integers() -> None:
    data = b'["18446744073709551616", 0.18446744073709551616, 18446744073709551615]'
    assert make_codec(settings("json")).decode(data)[2] == 2**64 - 1


def test_json_refuses_to_write_what_has_no_utf_8() -> None:
    codec = make_codec(settings("json"))
    for encode in (codec.encode, lambda v: codec.encode_many([v]), lambda v: codec.encode_separated([v], b"")):
        with pytest.raises(CodecError):
            encode("\ud800")


def test_json_writes_what_is_very_deep_or_refuses_it() -> None:
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    # How deep is too deep differs from one Python to the next.
    with contextlib.suppress(CodecError):
        assert make_codec(settings("json")).encode(deep) == b"[" * 5001 + b"]" * 5001


def test_string_writes_strings_raw_and_all_else_as_json() -> None:
    codec = make_codec(settings("string"))
    assert codec.encode_many(["a\n", 1, 2.0, None, {"a": []}]) == [b"a\n", b"1", b"2.0", b"null", b'{"a":[]}']
    assert codec.decode("é".encode()) == "é"


def test_string_refuses_what_is_no_utf_8() -> None:
    codec = make_codec(settings("string"))
    with pytest.raises(CodecError, match="byte 1 is no UTF-8"):
        codec.decode(b"a\xff")
    with pytest.raises(CodecError, match="surrogate"):
        codec.encode("\ud800")


# --- output --------------------------------------------------------------------------------------------------


@given(
    st.sampled_from(["json", "json-sorted", "string"]),
    st.lists(values, max_size=5),
    st.lists(st.sampled_from(["\n", "\r\n", "|", "", "é"]), max_size=2),
)
def test_a_batch_is_its_documents_with_the_separators_behind_each(
    codec: str, batch: list[Any], separators: list[str]
) -> None:
    one = make_codec(settings(codec))
    expected = b"".join(one.encode(value) + "".join(separators).encode() for value in batch)
    assert encoder(codec, *separators).encode_batch(batch) == expected


@given(st.lists(text, max_size=5))
def test_a_batch_of_strings_is_written_raw(batch: list[str]) -> None:
    assert encoder("string", "\n").encode_batch(batch) == "".join(f"{value}\n" for value in batch).encode()


def test_without_a_postprocessor_nothing_is_put_between() -> None:
    assert encoder("json").encode_batch([1, {"a": 2}]) == b'1{"a":2}'
    assert encoder("json", "\n").encode_batch([]) == b""


# --- the splitter --------------------------------------------------------------------------------------------


def split_at(data: bytes, places: list[int]) -> list[bytes]:
    bounds = [0, *sorted({min(place, len(data)) for place in places}), len(data)]
    return [data[start:end] for start, end in pairwise(bounds)]


@given(
    st.lists(st.binary(max_size=3)),
    st.sampled_from(["\n", "ab", "aab"]),
    st.lists(st.integers(0, 30)),
    st.booleans(),
)
def test_how_the_bytes_arrive_makes_no_difference(
    parts: list[bytes], separator: str, places: list[int], is_ended: bool
) -> None:
    data = separator.encode().join(parts) + (separator.encode() if is_ended else b"")
    splitter = make_preprocessor(settings("separate", separator=separator))
    documents: list[bytes] = []
    consumed = 0
    for chunk in split_at(data, places):
        documents += splitter.feed(chunk)
        consumed += len(chunk)
        assert data[: consumed - splitter.held_back] == b"".join(d + separator.encode() for d in documents)
    documents += splitter.finish()
    *expected, last = data.split(separator.encode())
    assert documents == [*expected, *([last] if last else [])]
    assert splitter.held_back == 0
    assert splitter.finish() == []


@given(st.lists(st.binary(max_size=6), max_size=6), st.lists(st.integers(0, 30)), st.sampled_from(["\n", "ab"]))
def test_documents_that_are_too_long_are_left_out_and_counted(
    parts: list[bytes], places: list[int], separator: str
) -> None:
    data = separator.encode().join([*parts, b""])
    splitter = make_preprocessor(settings("separate", separator=separator, max_length=3))
    documents = [document for chunk in split_at(data, places) for document in splitter.feed(chunk)]
    documents += splitter.finish()
    *all_documents, last = data.split(separator.encode())
    assert documents == [document for document in [*all_documents, *([last] if last else [])] if len(document) <= 3]
    assert splitter.discarded == sum(len(document) > 3 for document in [*all_documents, last])


def test_of_a_document_that_is_too_long_little_is_kept() -> None:
    splitter = make_preprocessor(settings("separate", max_length=10))
    for _ in range(100):
        assert splitter.feed(b"x" * 1000) == []
    assert splitter.held_back == 100_000  # as bytes of the stream, not of memory
    assert splitter.feed(b"x\nshort\n") == [b"short"]
    assert splitter.discarded == 1


def test_unbuffered_the_end_of_a_chunk_ends_a_document() -> None:
    splitter = make_preprocessor(settings("separate", buffered=False))
    assert splitter.feed(b"hello\nworld") == [b"hello", b"world"]
    assert splitter.feed(b"again\n") == [b"again"]
    assert splitter.held_back == 0


# --- what the plan asks --------------------------------------------------------------------------------------


def test_what_is_known_and_right_has_no_problems() -> None:
    for name in known_codecs():
        assert check_processor("codec", settings(name)) == ()
    for name in known_preprocessors():
        assert check_processor("preprocessor", settings(name)) == ()
    for name in known_postprocessors():
        assert check_processor("postprocessor", settings(name)) == ()
    right = settings("separate", separator="|", buffered=False, max_length=100000)
    assert check_processor("preprocessor", right) == ()
    assert check_processor("codec", settings("json", mode="unsorted")) == ()


def test_an_unknown_name_is_answered_with_the_nearest_or_with_all() -> None:
    [problem] = check_processor("codec", settings("jsno"))
    assert (problem.path, problem.hint) == ((), "did you mean `json`?")
    [problem] = check_processor("codec", settings("yaml"))
    assert problem.message == "there is no codec called `yaml`"
    assert problem.hint == "there are: json, json-sorted, string"
    [problem] = check_processor("postprocessor", settings("seperate"))
    assert problem.hint == "did you mean `separate`?"


@pytest.mark.parametrize(
    ("kind", "processor", "path"),
    [
        ("codec", settings("json", mod="sorted"), ("mod",)),
        ("codec", settings("json", mode="random"), ("mode",)),
        ("codec", settings("string", mode="sorted"), ("mode",)),
        ("preprocessor", settings("separate", separator=1), ("separator",)),
        ("preprocessor", settings("separate", separator=""), ("separator",)),
        ("preprocessor", settings("separate", max_length=0), ("max_length",)),
        ("postprocessor", settings("separate", buffered=True), ("buffered",)),
    ],
)
def test_a_wrong_setting_is_named(kind: Any, processor: ProcessorSettings, path: tuple[str, ...]) -> None:
    [problem] = check_processor(kind, processor)
    assert problem.path == path
    assert problem.message
