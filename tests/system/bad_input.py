"""All that people get wrong, and what they must be told: one table.

``says`` are parts of what stands on stderr: what is wrong, where, and what to do.
"""

from __future__ import annotations

from typing import Final

from msgspec import Struct

AUTHOR, USAGE, ENVIRONMENT = 1, 2, 3

#: A flow that is right, and the one line of it that a case makes wrong.
RIGHT: Final = """\
define flow main
flow
  use std::string;
  define connector tick from metronome with config = {"interval": 10} end;
  define connector file from file
  args path = "out.log"
  with codec = "json", postprocessors = ["separate"], config = {"path": args.path, "mode": "truncate"} end;
  define connector exit from exit;
  define pipeline leave pipeline select {"exit": 0} from in into out; end;
  define pipeline main pipeline select "#{ event.id }" from in where event.id >= 0 into out; end;
  create connector tick;
  create connector file;
  create connector exit;
  create pipeline main;
  create pipeline leave;
  connect /connector/tick to /pipeline/main;
  connect /connector/tick to /pipeline/leave;
  connect /pipeline/main to /connector/file;
  connect /pipeline/leave to /connector/exit;
end;
deploy flow main;
"""


class BadFlow(Struct, frozen=True, kw_only=True):
    """``wrong`` in the place of ``right`` in the flow above; or a file of ``content`` alone.  Always status 1."""

    claim: str
    right: str = ""
    wrong: str = ""
    content: bytes | None = None
    says: tuple[str, ...]

    @property
    def file_content(self) -> bytes:
        if self.content is not None:
            return self.content
        assert RIGHT.count(self.right) == 1, f"{self.claim}: stands {RIGHT.count(self.right)} times in the flow"
        return RIGHT.replace(self.right, self.wrong).encode()


class BadRun(Struct, frozen=True, kw_only=True):
    """A command line after ``metronome``; in the folder are ``right.troy``, a folder ``folder`` and what ``flow`` says.

    ``path``: what the flow writes to.  ``environment``: variables.  In all of them ``{valkey}`` stands for the URL of
    a server that runs, ``{folder}`` for the folder.
    """

    claim: str
    command: str
    path: str = "out.log"
    environment: dict[str, str] = {}
    status: int
    says: tuple[str, ...]


def _wrong(claim: str, right: str, wrong: str, *says: str) -> BadFlow:
    return BadFlow(claim=claim, right=right, wrong=wrong, says=says)


def _refused(
    status: int, claim: str, command: str, *says: str, path: str = "out.log", environment: dict[str, str] | None = None
) -> BadRun:
    return BadRun(claim=claim, command=command, path=path, environment=environment or {}, status=status, says=says)


def _interval(written: str, *says: str, claim: str) -> BadFlow:
    return BadFlow(
        claim=f"interval_{claim}", right='{"interval": 10}', wrong=written, says=("flow.troy:4:", '"interval"', *says)
    )


def _syntax(claim: str, right: str, wrong: str, *says: str) -> BadFlow:
    return BadFlow(claim=f"syntax_of_{claim}", right=right, wrong=wrong, says=("error[", "flow.troy:", "^", *says))


FILES: Final = (
    BadFlow(
        claim="file_not_utf8", content=b"define flow \xff", says=("flow.troy", "UTF-8", "byte 12", "save it as UTF-8")
    ),
    BadFlow(claim="file_empty", content=b"", says=("flow.troy", "error[", "deploy flow")),
    BadFlow(
        claim="file_of_comments_alone", content=b"# nothing\n\n# here\n", says=("flow.troy", "error[", "deploy flow")
    ),
    BadFlow(claim="file_of_blanks", content=b" \n\t\n", says=("flow.troy", "error[", "deploy flow")),
    BadFlow(claim="file_without_deploy", right="deploy flow main;", wrong="", says=("flow.troy", "deploy flow main;")),
    BadFlow(claim="file_binary", content=bytes(range(128)), says=("flow.troy:1:1", "error[")),
)

SYNTAX: Final = (
    _syntax("use", "use std::string;", "use std::;", ":3:", "expected"),
    _syntax("define_flow", "define flow main\nflow", "define flow\nflow", "expected"),
    _syntax("flow_without_end", "end;\ndeploy flow main;", "deploy flow main;", "expected", "`end`"),
    _syntax(
        "define_connector",
        "define connector exit from exit;",
        "define connector exit exit;",
        ":8:",
        "expected",
        "`from`",
    ),
    _syntax("args", 'args path = "out.log"', 'args path: "out.log"', ":6:", "expected"),
    _syntax("with", 'with config = {"interval": 10} end', 'with config {"interval": 10} end', ":4:", "expected"),
    _syntax("record", '{"interval": 10}', '{"interval" 10}', ":4:", "expected", "`:`"),
    _syntax("define_pipeline", "define pipeline main pipeline", "define pipeline main", ":10:", "expected"),
    _syntax("select", "from in where", "form in where", ":10:", "expected", "`from`"),
    _syntax("expression", "event.id >= 0", "event.id >= ", ":10:", "expected"),
    _syntax("interpolation", "#{ event.id }", "#{ event. }", ":10:", "expected"),
    _syntax("unterminated_text", '"#{ event.id }"', '"#{ event.id }', ":10:"),
    _syntax("create", "create connector tick;", "create connectr tick;", ":11:", "expected", "`connector`"),
    _syntax(
        "connect",
        "connect /connector/tick to /pipeline/main;",
        "connect /connector/tick /pipeline/main;",
        ":16:",
        "`to`",
    ),
    _syntax("deploy", "deploy flow main;", "deploy main;", ":21:", "expected", "`flow`"),
    _syntax("statement", "create pipeline main;", "make pipeline main;", ":14:", "expected"),
)

NAMES: Final = (
    _wrong("unknown_connector_kind", "from metronome", "from metronom", ":4:", "`metronome`?"),
    _wrong(
        "unknown_setting_of_config", '"interval": 10', '"interval": 10, "mised": "all"', ":4:", '"mised"', "`missed`?"
    ),
    _wrong("unknown_setting_of_with", "postprocessors =", "postprocesors =", ":7:", "`postprocessors`?"),
    _wrong("unknown_choice", '"truncate"', '"trunc"', ":7:", '"truncate"'),
    _wrong("unknown_codec", '"json"', '"jsn"', ":7:", "`json`?"),
    _wrong("unknown_postprocessor", '["separate"]', '["seperate"]', ":7:", "`separate`?"),
    _wrong("missing_codec", 'codec = "json", ', "", "codec", 'codec = "json"'),
    _wrong("unknown_module", "use std::string;", "use std::strin;", ":3:", "`std::string`?"),
    _wrong("unknown_function", "event.id >= 0", "string::le(event) == 0", ":10:", "`len`?"),
    _wrong("wrong_number_of_arguments", "event.id >= 0", "string::len() == 0", ":10:", "string::len"),
    _wrong(
        "unknown_port_of_connector",
        "connect /connector/tick to /pipeline/main;",
        "connect /connector/tick/ot to /pipeline/main;",
        ":16:",
        "`out`?",
    ),
    _wrong(
        "unknown_port_of_pipeline",
        "connect /pipeline/main to /connector/file;",
        "connect /pipeline/main/outt to /connector/file;",
        ":18:",
        "`out`?",
    ),
    _wrong(
        "unknown_port_in_select", "where event.id >= 0 into out;", "where event.id >= 0 into oyt;", ":10:", "`out`?"
    ),
    _wrong(
        "unknown_connector",
        "connect /connector/tick to /pipeline/main;",
        "connect /connector/tik to /pipeline/main;",
        ":16:",
        "/connector/tick`?",
    ),
    _wrong(
        "unknown_pipeline",
        "connect /connector/tick to /pipeline/main;",
        "connect /connector/tick to /pipeline/mian;",
        ":16:",
        "/pipeline/main`?",
    ),
    _wrong("unknown_flow", "deploy flow main;", "deploy flow mian;", ":21:", "`main`?"),
    _wrong(
        "unknown_argument", "create connector file;", 'create connector file with pth = "x" end;', ":12:", "`path`?"
    ),
    _wrong("unknown_name_in_expression", "event.id >= 0", "evnt.id >= 0", ":10:", "`event`?"),
    _wrong(
        "sink_as_source",
        "connect /pipeline/main to /connector/file;",
        "connect /connector/file to /pipeline/main;",
        ":18:",
        "error[",
    ),
    _wrong(
        "connector_to_connector",
        "connect /connector/tick to /pipeline/main;",
        "connect /connector/tick to /connector/file;",
        ":16:",
        "pipeline",
    ),
)

INTERVALS: Final = (
    _interval("{}", "milliseconds", claim="missing"),
    _interval('{"interval": 0}', "at least 1", "found 0", claim="zero"),
    _interval('{"interval": -5}', "at least 1", "found -5", claim="negative"),
    _interval('{"interval": 1.5}', "whole number", "found 1.5", "write 1 or 2", claim="fractional"),
    _interval(
        '{"interval": "1000"}', "whole number", 'found the text "1000"', "write 1000, without quotes", claim="text"
    ),
    _interval('{"interval": true}', "whole number", "found the truth value true", claim="truth_value"),
    _interval('{"interval": null}', "whole number", "found null", claim="null"),
    _interval('{"interval": 10000000000000}', "milliseconds", "write 10000000", claim="huge"),
    _interval('{"interval": 18446744073709551615}', "milliseconds", claim="of_64_bits"),
    _interval('{"interval": 1e300}', "whole number", claim="huge_float"),
    BadFlow(
        claim="interval_without_config",
        right='with config = {"interval": 10} end',
        wrong="",
        says=("flow.troy:4:", '"interval"', "milliseconds"),
    ),
    BadFlow(
        claim="interval_misspelt",
        right='{"interval": 10}',
        wrong='{"intervall": 10}',
        says=("flow.troy:4:", '"intervall"', "`interval`?"),
    ),
)

FLOWS: Final = (*FILES, *SYNTAX, *NAMES, *INTERVALS)

RUNS: Final = (
    _refused(AUTHOR, "flow_file_missing", "run wrong.troy", "wrong.troy", "no such file", "right.troy"),
    _refused(AUTHOR, "flow_file_below_a_file", "run right.troy/x.troy", "right.troy/x.troy"),
    _refused(AUTHOR, "flow_file_is_a_folder", "run folder", "folder is a folder", "flow.troy"),
    _refused(
        ENVIRONMENT,
        "output_in_a_missing_folder",
        "run right.troy",
        "/connector/file",
        "{folder}/no/out.log",
        "mkdir -p {folder}/no",
        path="no/out.log",
    ),
    _refused(
        ENVIRONMENT,
        "output_is_a_folder",
        "run right.troy",
        "/connector/file",
        "{folder}/folder",
        "it is a folder",
        path="folder",
    ),
    _refused(
        ENVIRONMENT,
        "output_below_a_file",
        "run right.troy",
        "/connector/file",
        "right.troy/out.log",
        path="right.troy/out.log",
    ),
    _refused(ENVIRONMENT, "output_in_proc", "run right.troy", "/connector/file", "/proc/out.log", path="/proc/out.log"),
    _refused(
        ENVIRONMENT,
        "output_to_a_full_device",
        "run right.troy",
        "/connector/file",
        "/dev/full",
        "No space left on device",
        path="/dev/full",
    ),
    _refused(
        ENVIRONMENT,
        "data_in_a_missing_folder",
        "run right.troy --data no/data",
        "{folder}/no/data",
        "parent must exist",
    ),
    _refused(
        ENVIRONMENT,
        "data_is_a_file",
        "run right.troy --data right.troy",
        "{folder}/right.troy",
        "File exists",
        "--data DIR",
    ),
    _refused(
        ENVIRONMENT,
        "redis_not_there",
        "run right.troy --redis redis://127.0.0.1:1/0",
        "cannot reach Redis",
        "127.0.0.1:1",
        "leave out --redis",
    ),
    _refused(
        ENVIRONMENT,
        "redis_host_unknown",
        "run right.troy --redis redis://no.such.host.invalid/0",
        "no.such.host.invalid:6379",
    ),
    _refused(
        ENVIRONMENT,
        "redis_url_of_unknown_scheme",
        "run right.troy --redis http://localhost",
        "http://localhost",
        "redis, rediss or unix",
    ),
    _refused(
        ENVIRONMENT, "redis_url_without_scheme", "run right.troy --redis localhost:6379", "localhost:6379", "redis://"
    ),
    _refused(
        ENVIRONMENT, "redis_socket_missing", "run right.troy --redis unix:///nowhere/redis.sock", "/nowhere/redis.sock"
    ),
    _refused(ENVIRONMENT, "redis_database_out_of_range", "run right.troy --redis {valkey}99", "database"),
    _refused(
        ENVIRONMENT,
        "redis_password_not_wanted",
        "run right.troy --redis redis://:secret@{address}/0",
        "password",
        "***",
    ),
    _refused(
        ENVIRONMENT,
        "redis_of_the_environment_not_there",
        "run right.troy",
        "cannot reach Redis",
        "127.0.0.1:1",
        environment={"METRONOME_REDIS_URL": "redis://127.0.0.1:1/0"},
    ),
    _refused(USAGE, "no_command_known", "runn right.troy", "runn", "run"),
    _refused(USAGE, "no_file", "run", "FLOW", "Usage: metronome run"),
    _refused(USAGE, "unknown_option", "run right.troy --rediss x", "--rediss", "--redis"),
    _refused(USAGE, "option_without_value", "run right.troy --redis", "--redis", "argument"),
    _refused(USAGE, "unknown_log_level", "run right.troy --log-level loud", "loud", "info"),
    _refused(USAGE, "data_with_redis", "run right.troy --data x --redis redis://127.0.0.1:1/0", "--data", "--redis"),
)
