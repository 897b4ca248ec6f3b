"""All kinds together: what the plan is told of them, and what is found before anything starts."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from metronome_worker.connectors.registry import builtin_kinds, make_writer, preflight
from tests.unit.connectors.instances import environment, instance, outputs, settled


def test_every_kind_is_known_by_its_name_and_refuses_unknown_settings() -> None:
    kinds = builtin_kinds()
    assert list(kinds) == ["exit", "file", "metronome", "null", "stdio"]
    for name, kind in kinds.items():
        assert kind.name == name
        assert kind.config_type.__struct_config__.forbid_unknown_fields
        assert kind.output_ports or kind.input_ports


def test_order_matters_to_files_and_streams_alone() -> None:
    assert [name for name, kind in builtin_kinds().items() if kind.is_ordered] == ["file", "stdio"]


@pytest.mark.parametrize(("mode", "is_source"), [("read", True), ("write", False), ("append", False)])
def test_mode_of_a_file_decides_its_direction(mode: str, is_source: bool) -> None:
    kind, made = builtin_kinds()["file"], instance("file", {"path": "a", "mode": mode})
    assert (kind.is_source(made.config), kind.is_sink(made.config)) == (is_source, not is_source)


@pytest.mark.parametrize(
    ("config", "path"),
    [
        ({"path": "", "mode": "read"}, ("path",)),
        ({"path": "a\0b", "mode": "read"}, ("path",)),
        ({"path": "a", "mode": "trunc"}, ("mode",)),
        ({"path": 5, "mode": "read"}, ("path",)),
        ({"path": "a", "mode": "read", "chunk_size": 0}, ("chunk_size",)),
        ({"path": "a"}, ()),
    ],
)
def test_unfit_config_of_a_file_is_refused(config: dict[str, object], path: tuple[str, ...]) -> None:
    _, [problem] = settled("file", config)
    assert (problem.path, problem.is_warning) == (path, False)


def test_null_drops_everything(tmp_path: Path) -> None:
    async def do() -> None:
        writer = make_writer(instance("null"), environment(tmp_path))
        assert await writer.open(None) is None
        written = await writer.write(outputs(1, 2))
        assert (written.state, written.commands) == (None, ())
        await writer.close()

    asyncio.run(do())


@pytest.mark.parametrize(
    ("path", "mode", "reason"),
    [
        ("none.json", "read", "it does not exist"),
        ("folder", "read", "it is a folder"),
        ("folder", "append", "it is a folder"),
        ("missing/out.log", "write", "missing does not exist"),
        ("file/out.log", "write", "file does not exist"),
    ],
)
def test_preflight_finds_what_will_be_refused(tmp_path: Path, path: str, mode: str, reason: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    [refusal] = preflight([instance("file", {"path": path, "mode": mode})], environment(tmp_path))
    assert refusal.value == str(tmp_path / path)
    assert reason in refusal.reason
    assert refusal.advice


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_preflight_finds_missing_permissions(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o000)
    for mode in ("read", "append"):
        assert preflight([instance("file", {"path": "file", "mode": mode})], environment(tmp_path))


def test_preflight_changes_nothing_and_finds_all_refusals(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("old")
    fine = [instance("file", {"path": path, "mode": "truncate"}) for path in ("there", "new")]
    others = [instance("exit"), instance("null"), instance("metronome", {"interval": 1}), instance("stdio")]
    assert preflight([*fine, *others], environment(tmp_path)) == ()
    assert [path.name for path in tmp_path.iterdir()] == ["there"]
    assert (tmp_path / "there").read_text() == "old"
    faulty = [instance("file", {"path": path, "mode": "read"}) for path in ("x", "y")]
    assert len(preflight(faulty, environment(tmp_path))) == 2


def test_preflight_refuses_two_writers_of_one_file(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("out.log")
    twice = [instance("file", {"path": path, "mode": "append"}) for path in ("out.log", "./out.log", "link")]
    assert len(preflight(twice, environment(tmp_path))) == 2
    harmless = [
        instance("file", {"path": "out.log", "mode": "append"}),
        *[instance("file", {"path": "/dev/null", "mode": "append"})] * 2,
    ]
    assert preflight(harmless, environment(tmp_path)) == ()
