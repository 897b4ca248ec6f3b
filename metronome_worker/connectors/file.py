"""The `file` connector: reads events from a file, or writes them to one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta, Struct

from metronome_worker.connectors.codecs import OutputEncoder, make_codec
from metronome_worker.connectors.file_reader import FileReader
from metronome_worker.connectors.file_writer import FileWriter
from metronome_worker.connectors.input_decoder import InputDecoder
from metronome_worker.connectors.kind import ConnectorEnvironment, RunnableKind
from metronome_worker.errors import OperatorError
from metronome_worker.plan.model import SettingProblem

if TYPE_CHECKING:
    from collections.abc import Iterable

    from metronome_worker.connectors.interface import SinkWriter, SourceReader
    from metronome_worker.plan.model import ConnectorInstance

Mode = Literal["read", "write", "truncate", "append", "overwrite"]
ChunkSize = Annotated[int, Meta(ge=1, le=1 << 20, description="a number of bytes from 1 to 1048576")]


class FileConfig(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``path`` is relative to the folder where the command runs; ``chunk_size`` is bytes, and matters to readers.

    ``read`` reads; ``write`` and ``truncate`` (the same) start an empty file; ``append`` goes on behind what is there;
    ``overwrite`` writes over it from the start and leaves the rest.
    """

    path: str
    mode: Mode
    chunk_size: ChunkSize = 8192


class FileKind(RunnableKind):
    name = "file"
    config_type = FileConfig
    output_ports = ("out",)
    input_ports = ("in",)
    is_ordered = True

    def needs_codec(self, config: Any) -> bool:
        return True

    def is_source(self, config: FileConfig) -> bool:
        return config.mode == "read"

    def is_sink(self, config: FileConfig) -> bool:
        return config.mode != "read"

    def check(self, config: FileConfig) -> tuple[SettingProblem, ...]:
        if config.path and "\0" not in config.path:
            return ()
        message = '"path" is empty' if not config.path else '"path" holds a zero byte'
        return (SettingProblem(path=("path",), message=message, hint='write a file\'s name, as in "out.log"'),)

    def preflight(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> None:
        path = path_of(instance, environment)
        if instance.config.mode == "read":
            _check_readable(instance.node, path)
        else:
            _check_writable(instance.node, path)

    def make_writer(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> SinkWriter:
        assert instance.codec is not None
        encoder = OutputEncoder(make_codec(instance.codec), instance.postprocessors)
        path = path_of(instance, environment)
        return FileWriter(instance.node, path, instance.config.mode, encoder, environment.is_ours)

    def make_reader(self, instance: ConnectorInstance, environment: ConnectorEnvironment) -> SourceReader:
        assert instance.codec is not None
        decoder = InputDecoder(instance.node, instance.codec, instance.preprocessors)
        return FileReader(instance.node, path_of(instance, environment), instance.config.chunk_size, decoder)


def path_of(instance: ConnectorInstance, environment: ConnectorEnvironment) -> Path:
    """The absolute path that a file connector is about.  Links are left as they are: their target may change."""
    return Path(os.path.normpath(environment.base_directory / instance.config.path))


def check_apart(instances: Iterable[ConnectorInstance], environment: ConnectorEnvironment) -> tuple[OperatorError, ...]:
    """Refuses two connectors that write one file: each writes where its own events end, over those of the other."""
    writers: dict[Path, str] = {}
    refusals = []
    for instance in instances:
        if not isinstance(instance.config, FileConfig) or instance.config.mode == "read":
            continue
        path = path_of(instance, environment).resolve()
        if path in writers and (path.is_file() or not path.exists()):
            what = f"{writers[path]} and {instance.node} both write the file"
            advice = "connect both pipelines to one connector, or name another file"
            refusals.append(OperatorError(what, value=str(path), advice=advice))
        writers.setdefault(path, instance.node)
    return tuple(refusals)


def _check_readable(node: str, path: Path) -> None:
    if not path.exists():
        _refuse(node, "read", path, "it does not exist", 'create it, or change "path"')
    if path.is_dir():
        _refuse(node, "read", path, "it is a folder", 'name a file in "path"')
    if not os.access(path, os.R_OK):
        _refuse(node, "read", path, "permission denied", "allow this user to read it")


def _check_writable(node: str, path: Path) -> None:
    if path.is_dir():
        _refuse(node, "write", path, "it is a folder", 'name a file in "path"')
    if path.exists():
        if not os.access(path, os.W_OK):
            _refuse(node, "write", path, "permission denied", "allow this user to write it")
        return
    folder = path.resolve().parent  # of a link that leads nowhere yet, where it leads
    if not folder.is_dir():
        _refuse(node, "write", path, f"the folder {folder} does not exist", f"create it: mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        _refuse(node, "write", path, f"no permission to create files in {folder}", "allow this user to write there")


def _refuse(node: str, verb: str, path: Path, reason: str, advice: str) -> None:
    raise OperatorError(f"{node} cannot {verb} the file", value=str(path), reason=reason, advice=advice)
