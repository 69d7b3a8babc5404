"""The reference pages that are made from the code: the command line, microscope.toml, messages.

    python -m benchmarks.reference_pages

writes them to docs/reference/; a test says when they are no longer current. Nothing here depends on
how the running Python's argparse would format its help.
"""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from acquisition.configuration.microscope_file import AcquisitionConfig, load_configuration
from benchmarks.pages import DOCS
from commands import NAMES
from commands.command_line import command
from pipeline.wire import messages

__all__ = ["PAGES", "write_pages"]

_MADE = "<!-- made by `python -m benchmarks.reference_pages`; do not edit -->"

# ---- The command line ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Option:
    """An option or a positional argument, as a command asks argparse for it."""

    names: tuple[str, ...]
    how: Mapping[str, Any]
    choice: "_Options | None" = None  # the group of which one is taken

    @property
    def positional(self) -> bool:
        return not self.names[0].startswith("-")

    @property
    def required(self) -> bool:
        needed = self.how.get("nargs") != "?" if self.positional else self.how.get("required")
        return bool(needed)

    @property
    def value(self) -> str:
        """What is to be put in for it; empty for a switch."""
        if self.how.get("action") == "store_true":
            return ""
        plain = self.names[0] if self.positional else self.names[-1].lstrip("-").upper()
        word = self.how.get("metavar") or plain
        if isinstance(word, tuple):
            return " ".join(word)
        number = self.how.get("nargs")
        return f"{word} ..." if number == "+" else " ".join([word] * (number or 1))

    def words(self, names: Sequence[str]) -> str:
        """Return it as it is typed, by one of its names or all."""
        if self.positional:
            optional = self.how.get("nargs") == "?"
            return f"[{self.how.get('metavar', names[0])}]" if optional else self.value
        return " ".join(filter(None, [", ".join(names), self.value]))


@dataclass(slots=True)
class _Options:
    """What a command adds to its parser; stands in for an ``argparse.ArgumentParser``."""

    title: str = ""
    text: str = ""
    needed: bool = False
    options: list[_Option] = field(default_factory=list)
    groups: "list[_Options]" = field(default_factory=list)
    parent: "_Options | None" = None

    def add_argument(self, *names: str, **how: Any) -> None:
        """Keep an option."""
        if self.parent is None:
            self.options.append(_Option(names, how))
        else:
            self.parent.options.append(_Option(names, how, self))

    def add_argument_group(self, title: str, description: str = "") -> "_Options":
        """Return a group with a heading of its own."""
        self.groups.append(_Options(title, description))
        return self.groups[-1]

    def add_mutually_exclusive_group(self, *, required: bool = False) -> "_Options":
        """Return a group of which one option is taken."""
        return _Options(needed=required, parent=self)


def command_line_page() -> str:
    """Return the page of the command line."""
    lines = [
        "# Command line",
        "",
        _MADE,
        "",
        "`python launcher.py COMMAND`, or `livetomo COMMAND` where pip has installed it. Without a "
        "command the live window opens on the simulated microscope; without a display a few scans "
        "are made instead, a tomogram file and a picture of it.",
        "",
        "The exit status is 0 only when all that was asked for was done. 1 means that something "
        "was refused or failed, and one line says what; 2 is a mistake in the command line. "
        "`--json` prints figures as one JSON object on standard output; progress goes to standard "
        "error.",
        "",
        "| Command | What it does |",
        "| --- | --- |",
        *(f"| [`{name}`](#{name}) | {_plain(command(name).HELP)} |" for name in NAMES),
    ]
    for name in NAMES:
        lines += _command(name)
    return "\n".join(lines) + "\n"


def _command(name: str) -> Iterator[str]:
    module = command(name)
    options = _Options()
    module.add_options(options)
    usage = ["python launcher.py", name, *_usage(options)]
    if getattr(module, "FORWARDS", False):
        usage.append("[...]")
    yield from ("", f"## {name}", "", f"    {' '.join(usage)}", "")
    yield _plain(inspect.getdoc(module) or module.HELP)
    for group in (options, *options.groups):
        if group.title:
            heading = f"**{group.title.capitalize()}**"
            yield from ("", f"{heading}: {group.text}" if group.text else heading)
        if group.options:
            yield from ("", "| Option | What it is |", "| --- | --- |")
            ordered = sorted(group.options, key=lambda option: not option.positional)
            yield from (_row(option) for option in ordered)


def _usage(options: _Options) -> Iterator[str]:
    choices: dict[int, list[str]] = {}
    for option in options.options:
        if option.choice is not None and option.choice.needed:
            choices.setdefault(id(option.choice), []).append(option.words(option.names[:1]))
    needed = [o for o in options.options if o.required]
    yield from (o.words(o.names[:1]) for o in needed if o.positional)
    yield from (f"[{o.how['metavar']}]" for o in options.options if o.positional and not o.required)
    yield from (o.words(o.names[:1]) for o in needed if not o.positional)
    yield from (f"({' | '.join(words)})" for words in choices.values())
    if any(not o.required and not o.positional for o in options.options) or options.groups:
        yield "[OPTIONS]"


def _row(option: _Option) -> str:
    says = [_plain(option.how.get("help", "")).replace("|", "or")]
    if option.how.get("choices"):
        says.append("one of " + ", ".join(f"`{choice}`" for choice in option.how["choices"]))
    default = option.how.get("default")
    stated = "default" in says[0] or "not given" in says[0]
    if default not in (None, [], 0, 0.0, "") and not stated:
        values = default if isinstance(default, list | tuple) else [default]
        says.append("default " + ", ".join(f"`{value}`" for value in values))
    if option.required and not option.positional:
        says.append("**required**")
    return f"| `{option.words(option.names)}` | {'; '.join(filter(None, says))} |"


def _plain(text: str) -> str:
    """Return a docstring as Markdown, with links to the pages that it names."""
    text = re.sub(r"docs/([\w-]+/[\w./-]+\w)", r"[\1](../\1)", text)
    return text.replace("``", "`")


# ---- microscope.toml -----------------------------------------------------------------------------

_EXAMPLES = ("simulated.toml", "hardware.toml")
# What the examples do not comment.
_SECTIONS = {"simulation": "What the simulated microscope looks at, and how well."}
_SAID = {
    "microscope.kind": "simulated devices, or those that the file names",
    "dmd.conjugate": 'to the "sample": gratings; to the "pupil": spots',
    "microscope.system_configuration": "Micro-Manager .cfg file that loads devices; relative to "
    "this file",
    "dmd.label": "label of the SLM device in the core",
    "dmd.adapter": "adapter, or Python module, unless the .cfg file loads the device",
    "dmd.device": "device, or class, of that adapter",
    "dmd.properties": "set when the microscope is opened, by the adapter's names",
    "camera.label": "label of the camera in the core",
    "camera.adapter": "adapter, or Python module, unless the .cfg file loads the device",
    "camera.device": "device, or class, of that adapter",
    "camera.properties": "set in this order when the microscope is opened, by the adapter's names",
    "camera.height": "pixels",
    "camera.frame_tags.timestamp_unit_s": "unit of `timestamp`, in seconds",
    "stage.label": "label of the XY stage; empty where there is none",
    "stage.focus_label": "label of the focus drive; empty where there is none",
    "illumination.circle": "the normal angle and a circle; `na_fraction` is its radius over the NA",
    "illumination.spiral": "a spiral that reaches `na_fraction` of the NA",
    "illumination.grid": "a square grid, `across` angles wide, within `na_fraction` of the NA",
    "calibration.use": "whether the calibration file is used",
    "simulation.dmd_magnification": "how the DMD's image is scaled against what [dmd] says",
    "reconstruction.gridding": '"nearest" or "linear": how a sample between voxels of k-space is '
    "shared",
    "simulation.phase_drift_period_s": "of that drift",
    "reconstruction.approximation": '"born" is for weak samples; rytov by default',
    "reconstruction.objects": "than the medium; tells the sideband where k is not known",
    "processing.regularizer": "of the live tomograms",
    "processing.constraint": "on the sign of the contrast",
    "faults.late_by": "see `late_triggers`",
    "faults.trigger_cable_cut": "no trigger reaches the camera",
    "faults.dead_illumination": "no light",
    "faults.saturated_laser": "the laser saturates the camera",
    "camera.frame_tags": "what the camera reports with each frame: a table of its own, below",
    "camera.trigger": "what starts an exposure: a table of its own, below",
}


def microscope_page() -> str:
    """Return the page of microscope.toml."""
    lines = [
        "# microscope.toml",
        "",
        _MADE,
        "",
        "One file says what the microscope is. Every key may be left out: the defaults are the "
        "simulated microscope, and an empty file is that. Keys not listed here are errors. "
        'With `kind = "hardware"` the numbers that belong to your optics, DMD and camera must be '
        "given; an error names those that are missing.",
        "",
        "Lengths are in micrometres, times in the unit in the name. Files to start from: "
        "[simulated.toml](../examples/simulated.toml), which shows every default, "
        "[hardware.toml](../examples/hardware.toml), "
        "[flir-dlp6500.toml](../examples/flir-dlp6500.toml).",
    ]
    schema = AcquisitionConfig.model_json_schema()
    default = load_configuration()
    comments = _comments()
    for name in AcquisitionConfig.model_fields:
        lines += _section(name, getattr(default, name), schema, comments)
    return "\n".join(lines) + "\n"


def _section(
    name: str, default: Any, schema: Mapping[str, Any], comments: Mapping[str, str]
) -> Iterator[str]:
    yield from ("", f"## [{name}]", "")
    yield _SECTIONS.get(name) or _described(inspect.getdoc(type(default)) or "")
    yield from ("", "| Key | Type | Default | What it is |", "| --- | --- | --- | --- |")
    tables = []
    shape = schema["$defs"][type(default).__name__]
    for key, how in shape["properties"].items():
        full, value = f"{name}.{key}", getattr(default, key)
        if full in ("camera.trigger", "camera.frame_tags"):
            tables.append((full, _found(how, schema)))
        said = _SAID.get(full) or comments.get(full, "")
        yield f"| `{key}` | {_kind(how, schema)} | {_toml(value)} | {said} |"
    for full, table in tables:
        yield from ("", f"### [{full}]", "", _described(table.get("description", "")), "")
        yield from ("| Key | Type | Default | What it is |", "| --- | --- | --- | --- |")
        for key, how in table["properties"].items():
            said = _SAID.get(f"{full}.{key}") or comments.get(f"{full}.{key}", "")
            yield f"| `{key}` | {_kind(how, schema)} | {_toml(how.get('default'))} | {said} |"


def _found(how: Mapping[str, Any], schema: Mapping[str, Any]) -> Any:
    """Return the table that a key holds."""
    options = [how, *how.get("anyOf", []), *how.get("allOf", [])]
    reference = next(option["$ref"] for option in options if "$ref" in option)
    return schema["$defs"][reference.rpartition("/")[2]]


def _kind(how: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """Return a JSON schema in words."""
    if "anyOf" in how:
        kinds = [_kind(option, schema) for option in how["anyOf"] if option.get("type") != "null"]
        return " or ".join(kinds)
    if "$ref" in how:
        table = schema["$defs"][how["$ref"].rpartition("/")[2]]
        return "table of " + ", ".join(f"`{key}`" for key in table["properties"])
    if "enum" in how:
        return ", ".join(f'`"{choice}"`' for choice in how["enum"])
    if "const" in how:
        return f'`"{how["const"]}"`'
    if how.get("type") == "array":
        if "prefixItems" in how:
            inner = how["prefixItems"]
            return f"[{', '.join(_kind(item, schema) for item in inner)}]"
        return f"list of {_kind(how['items'], schema)}"
    if how.get("type") == "object":
        return "table"
    if how.get("pattern"):
        return "text"
    word = {"integer": "whole number", "number": "number", "boolean": "`true`, `false`"}
    return word.get(how.get("type", ""), "text") + _limits(how)


def _limits(how: Mapping[str, Any]) -> str:
    low, high = how.get("minimum"), how.get("maximum")
    if "exclusiveMinimum" in how:
        above = f"above {how['exclusiveMinimum']:g}"
        if "exclusiveMaximum" in how:
            return f", {above} and below {how['exclusiveMaximum']:g}"
        return f", {above}" + (f", at most {high:g}" if high is not None else "")
    if low is not None and high is not None:
        return f", {low:g} to {high:g}"
    return f", at least {low:g}" if low is not None else ""


def _toml(value: Any) -> str:
    """Return a value as it stands in the file."""
    if value is None:
        return ""
    return f"`{_bare(value)}`"


def _bare(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f'"{value}"'
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{k} = {_bare(v)}' for k, v in value.items())}}}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_bare, value))}]"
    if hasattr(value, "model_dump"):
        return _bare(value.model_dump())
    return f"{value:g}" if isinstance(value, float) and value >= 1e5 else str(value)


def _comments() -> dict[str, str]:
    """Return what the examples say of each key, on its own line."""
    found: dict[str, str] = {}
    for example in _EXAMPLES:
        section = ""
        for line in (DOCS / "examples" / example).read_text("utf-8").splitlines():
            if match := re.match(r"\[([\w.]+)\]", line):
                section = match[1]
            elif match := re.match(r"(?:# )?(\w+) = [^#]*[^#\s]\s+# (.*)", line):
                found.setdefault(f"{section}.{match[1]}", match[2].replace("|", "or"))
    return found


def _described(docstring: str) -> str:
    """Return a docstring as Markdown, each ``name : text`` of it an item."""
    blocks, item = [], False
    for line in _plain(docstring).splitlines():
        if match := re.match(r"([a-z]\w*) : (.*)", line):
            blocks.append(
                f"- `{match[1]}`: {match[2]}" if item else f"\n- `{match[1]}`: {match[2]}"
            )
            item = True
        elif item and line:
            blocks.append(f"  {line}")
        else:
            blocks.append(line)
            item = False
    return re.sub(r"\n{3,}", "\n\n", "\n".join(blocks))


# ---- Messages ------------------------------------------------------------------------------------


def messages_page() -> str:
    """Return the page of the messages between processes."""
    shared = list(messages.Header.model_fields)
    lines = [
        "# Messages",
        "",
        _MADE,
        "",
        "The processes of a running instrument talk by ZeroMQ over loopback TCP on free ports. "
        "`pipeline.wire.sockets.Endpoints` names the addresses; `pipeline.live.instrument_client` "
        "is a client to start from. A process keeps its ports when it is restarted.",
        "",
        "| Endpoint | Kind | What comes or goes |",
        "| --- | --- | --- |",
        "| `stacks` | PUSH to PULL | scans and backgrounds, acquirer to processor |",
        "| `frames` | PUSH to PULL | news of frames in shared memory, acquirer to processor |",
        "| `acquirer` | PUB | interferograms, the acquirer's status |",
        "| `processor` | PUB | tomograms, the processor's status |",
        "| `quality` | PUB | comparisons with total variation, their status |",
        "| `measuring` | PUB | objects of a tomogram, the measuring process's status |",
        "| `supervisor` | PUB | which processes are up |",
        "| `acquirer_commands`, `processor_commands`, `quality_commands`, `measuring_commands` | "
        "REP | a command, answered by a reply |",
        "",
        _described(_after_title(inspect.getdoc(messages) or "")),
        "",
        f"Every header has {', '.join(f'`{name}`' for name in shared)}. `arrays` lists dtype "
        "(`|u1`, `<u2`, `<f4`, `<f8`) and shape of each array that follows. A queue holds a few "
        "messages and drops what is more; nothing waits for a slow reader.",
    ]
    for kind in _kinds():
        lines += _header(kind)
    lines += ["", "## Parts", "", "Types that several fields above have."]
    for name, shape in sorted(_parts().items()):
        text, said = _parameters(shape.get("description", ""))
        lines += ["", f"### {name}", "", _plain(text), ""]
        lines += _fields(shape, said) if "properties" in shape else [f"One of {_json_kind(shape)}."]
    return "\n".join(lines) + "\n"


def _kinds() -> Iterator[type[messages.Header]]:
    found = (getattr(messages, name) for name in messages.__all__)
    heads = (k for k in found if inspect.isclass(k) and issubclass(k, messages.Header))
    return (kind for kind in heads if kind is not messages.Header)


def _parts() -> dict[str, Any]:
    """Return the schemas of what is in several headers."""
    parts: dict[str, Any] = {}
    for kind in _kinds():
        parts |= kind.model_json_schema().get("$defs", {})
    return {name: parts[name] for name in parts if name != "ArraySpec"}


def _header(kind: type[messages.Header]) -> Iterator[str]:
    schema = kind.model_json_schema()
    named = schema["properties"]["kind"]
    topics = named.get("enum") or [named["const"]]
    yield from ("", f"## {', '.join(topics)}", "", _described(inspect.getdoc(kind) or ""), "")
    yield from _fields(schema)


def _fields(schema: Mapping[str, Any], said: Mapping[str, str] | None = None) -> Iterator[str]:
    """Yield the table of a schema's fields, with what is ``said`` of them."""
    more = (" What it is |", " --- |") if said else ("", "")
    yield from (f"| Field | Type | Default |{more[0]}", f"| --- | --- | --- |{more[1]}")
    for name, how in schema["properties"].items():
        if name != "kind" and name not in messages.Header.model_fields:
            default = "" if "default" not in how else f"`{_json(how['default'])}`"
            row = f"| `{name}` | {_json_kind(how)} | {default} |"
            yield f"{row} {said.get(name, '')} |" if said else row


def _parameters(docstring: str) -> tuple[str, dict[str, str]]:
    """Return a numpy docstring's text and what it says of each parameter."""
    text, _, rest = docstring.partition("\n\nParameters\n----------\n")
    said: dict[str, str] = {}
    names: list[str] = []
    for line in rest.partition("\n\n")[0].splitlines():
        if match := re.match(r"(\w[\w, ]*)(?: :|$)", line):
            names = match[1].split(", ")
        else:
            said |= {name: f"{said.get(name, '')} {_plain(line.strip())}".strip() for name in names}
    return text, said


def _json(value: Any) -> str:
    return "null" if value is None else _bare(value)


def _json_kind(how: Mapping[str, Any]) -> str:
    """Return a JSON schema in a few words."""
    if "anyOf" in how:
        return " or ".join(_json_kind(option) for option in how["anyOf"])
    if "$ref" in how:
        return str(how["$ref"].rpartition("/")[2])
    if "enum" in how:
        return ", ".join(f"`{choice}`" for choice in how["enum"])
    if how.get("type") == "array":
        if "prefixItems" in how:
            return f"[{', '.join(_json_kind(item) for item in how['prefixItems'])}]"
        return f"list of {_json_kind(how.get('items', {}))}"
    if how.get("type") == "object" and isinstance(how.get("additionalProperties"), dict):
        return f"object of {_json_kind(how['additionalProperties'])}"
    return str(how.get("type", "any"))


def _after_title(docstring: str) -> str:
    return docstring.partition("\n\n")[2]


# ---- All of them ---------------------------------------------------------------------------------

PAGES: Mapping[str, Callable[[], str]] = {
    "command-line.md": command_line_page,
    "microscope-toml.md": microscope_page,
    "messages.md": messages_page,
}


def write_pages() -> None:
    """Write all of them to docs/reference/."""
    for name, page in PAGES.items():
        (DOCS / "reference" / name).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    write_pages()
