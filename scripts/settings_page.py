"""Writes docs/settings.md from the files of conf/ and from what the code refuses.

A test holds the page to both.

python scripts/settings_page.py

Defaults and descriptions are those of conf/. What is allowed is not written there. It comes from
the ranges in ``vaebench/settings/records.py``, or from the message with which a model, an objective
or an optimiser refuses a wrong value.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from vaebench.config import catalogue
from vaebench.config.cells import GROUPS, OF_OPTION, Cell
from vaebench.data import DATA
from vaebench.data.kinds import Kind
from vaebench.errors import UserError
from vaebench.running import tasks
from vaebench.settings import defaults
from vaebench.settings.kinds import MANY
from vaebench.settings.records import PROCESSES, SAMPLES, WIDTH
from vaebench.settings.whole_cell import kind_of

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"

INTRODUCTION = """\
# Settings

Every setting has a default. You change it on the command line, `KEY=VALUE`, or in the file of a
table. First you choose an option of a group by its name, `model=sbn`; the option says which keys
there are.

```
vaebench show table=nvil_mnist        # what a table sets, and why
vaebench run table=nvil_mnist --only "row=SBN 200" model=sbn optim.rate=1e-3 --dry-run \
  # an option and a key
```

A list is written `"model.dims=[200,200]"`, nothing at all is `null`. Keys are written in full;
Hydra's prefixes (`+`, `~`) have no part here. A wrong key or a wrong value is refused in one line,
before anything is computed.

| what you change | what follows |
|---|---|
| `data`, `model`, `objective`, `optim`, `train` | another run, with a name of its own |
| `eval` | the same run, evaluated again |
| `run` | the same run and the same numbers, apart from rounding |

`scripts/settings_page.py` writes this page from `conf/` and from the code: do not edit it.
"""

SECTIONS = {
    "train": "How a cell is trained.",
    "run": "How a cell is executed. Nothing here is part of what a run is.",
    "data": "What is learned from. `vaebench ls data` shows which data sets are on your machine.",
    "model": f"The model and its inference network. Whole numbers are at most {WIDTH:,}.",
    "objective": (
        "The learning rule. Numbers of samples, chains and sweeps are at most "
        f"{SAMPLES:,}, others {MANY:,}."
    ),
    "optim": f"The optimiser. Whole numbers are at most {MANY:,}.",
    "eval": "How a trained model is evaluated. This is part of the protocol of every number.",
}

PRESETS = "How much of a table is run. A table may add to a preset; `vaebench show` says what."

BUILT = ("model", "objective", "optim")
"""Groups whose ranges only their classes know, which check them when they are built."""

OWN_FILES = {**dict.fromkeys(("train", "valid", "test", "vocabulary"), "FILE"), "content": "known"}
"""Settings of the user's own data: files that were read before (``content``) and are gone. Then
everything else about a configuration can be checked without any file."""

FILLED_IN = ("data.content",)
"""Keys that the code fills in."""


class Setting(NamedTuple):
    """One key as its file has it: the default and the description are the text of the file."""

    key: str
    default: str
    about: str


class Option(NamedTuple):
    """A file of conf/, or a section of cell.yaml: what it is, and its keys."""

    about: str
    settings: list[Setting]


def read(text: str) -> Option:
    """Return what a file of conf/ says.

    That is the comment at its head, and each key with its default and its comment. A comment may go
    on in the next lines, alone on them.
    """
    # Read as text and not as YAML, which would drop the comments and rewrite the defaults.
    about: list[str] = []
    settings: list[Setting] = []
    for line in text.splitlines():
        before, _, comment = line.partition("#")
        comment = comment.strip()
        name, colon, default = before.strip().partition(":")
        if colon:
            settings.append(Setting(name, default.strip(), comment))
        elif comment and settings:
            last = settings[-1]
            settings[-1] = last._replace(about=f"{last.about} {comment}")
        elif comment:
            about.append(comment)
    return Option(" ".join(about), settings)


def options(group: str) -> dict[str, Option]:
    """Return the options of a group by name.

    ``train`` and ``run`` are sections of cell.yaml and have no options: the name is ''.
    """
    conf = catalogue.conf_dir()
    if group in GROUPS:
        return {
            n: read((conf / group / f"{n}.yaml").read_text(encoding="utf-8"))
            for n in catalogue.options(group)
        }
    # The indented lines below the name of the section.
    section = re.search(
        rf"^{group}:.*\n((?: +.*\n)*)", (conf / "cell.yaml").read_text(encoding="utf-8"), re.M
    )
    return {"": read(section[1])}


# ---------------------------------------------------------------------------------- what is allowed


def allowed(group: str, option: str, key: str) -> str:
    """Return what a setting may be, in the words with which another value is refused."""
    dotted = f"{group}.{key}"
    if dotted in FILLED_IN:
        return "filled in, never set"

    default = default_of(group, option, key)
    words = kind_of(dotted, default).words
    or_null = words.startswith("null or ")
    # Ranges of these come from the class; switches and rates have a common rule.
    if (
        group in BUILT and not isinstance(default, bool) and not key.endswith("rate")
    ) or dotted == "data.held_out":
        words = refusal(group, option, key, default) or words
    if or_null and "null" not in words:
        words = f"null or {words}"

    # The limit depends on the cores of this machine; the page must be the same on all.
    of_the_machine = " to 64, or four times the cores of the machine if that is more"
    return re.sub(rf" to {PROCESSES}$", of_the_machine, words)


def default_of(group: str, option: str, key: str) -> Any:
    """Return the default of a key as the code reads it."""
    if group in GROUPS:
        return defaults.of_option(group, option)[key]
    return defaults.read(catalogue.conf_dir() / "cell.yaml")[group][key]


def refusal(group: str, option: str, key: str, default: Any) -> str:
    """Return the range in the line that refuses an impossible value of a key.

    It is '' if only the type can be wrong.
    """
    # A value of the right type that nothing allows.
    bad = "?" if isinstance(default, str) else [-7] if isinstance(default, list) else -7
    config = working(group, option)
    line = refused({**config, group: {**config[group], key: bad}})
    _, named, words = line.partition(f"{key}={'' if isinstance(bad, str) else str(bad)}")
    if not named:
        return ""

    # The message is "KEY=VALUE: allowed: RANGE", or "KEY=VALUE: must be RANGE", or "... takes ...".
    words = words.partition(": ")[2]
    words = words.rpartition("allowed: ")[2] if "allowed: " in words else words
    words = re.sub(rf"^(must be|{option} takes) ", "", words).replace("null, or", "null or")
    # Other keys are named without their present values.
    return re.sub(r"(\w+)(=| \()[\d.]+\)?", r"\1", words)


def refused(config: dict[str, Any]) -> str:
    """Return the line with which a configuration is refused; '' if it is not."""
    try:
        tasks.check([Cell("", "", "", "", config)])
    except UserError as e:
        return str(e)
    return ""


@lru_cache
def working(group: str, option: str) -> dict[str, Any]:
    """Return a configuration with this option that can be built.

    Data, model and objective are the first ones that go together. Raises LookupError if none do.
    """
    # cell.yaml: its own sections, and the default option of each group.
    primary = defaults.read(catalogue.conf_dir() / "cell.yaml")
    base = {
        **{section: primary[section] for section in ("train", "run")},
        **{
            g: defaults.of_option(g, name)
            for part in primary["defaults"][:-1]
            for g, name in part.items()
        },
    }
    # Bits come first, because most models take them.
    for data in (
        [option] if group == "data" else ("mnist_static", "toy_text", "blank", "toy_counts")
    ):
        for model in [option] if group == "model" else catalogue.options("model"):
            for objective in [option] if group == "objective" else catalogue.options("objective"):
                chosen = {"data": data, "model": model, "objective": objective}
                if group == "optim":
                    chosen["optim"] = option
                config = {**base, **{g: defaults.of_option(g, name) for g, name in chosen.items()}}

                # Two things that the user would have to set: a likelihood of real numbers for
                # intensities, and the files of own data.
                if DATA[data].kind is Kind.INTENSITY and "likelihood" in config["model"]:
                    config["model"] = {**config["model"], "likelihood": "gaussian"}
                if DATA[data].asks:
                    config["data"] = {**config["data"], **OWN_FILES}

                if not refused(config):
                    return config
    raise LookupError(f"nothing goes with {group}={option}")


# ----------------------------------------------------------------------------------------- the page


def rows(group: str, name: str, option: Option) -> Iterator[str]:
    """Yield the lines of an option's table."""
    settings = [setting for setting in option.settings if setting.key not in OF_OPTION]
    if not settings:
        yield "It has no settings."
        return

    yield "| setting | default | allowed | meaning |"
    yield "|---|---|---|---|"
    for setting in settings:
        words = (allowed(group, name, setting.key), setting.about)
        yield (
            f"| `{group}.{setting.key}` | `{setting.default}` | {' | '.join(map(escaped, words))} |"
        )


def escaped(text: str) -> str:
    """Return the text with its characters escaped that Markdown would take as its own."""
    return re.sub(r"([|<*])", r"\\\1", text)


def page() -> str:
    """Return the whole page."""
    lines = [INTRODUCTION]
    for group, about in SECTIONS.items():
        lines += [f"## {group}", "", about, ""]
        for name, option in options(group).items():
            if name:
                lines += [f"### {group}={name}", "", escaped(option.about), ""]
            lines += [*rows(group, name, option), ""]
    lines += ["## preset", "", PRESETS, ""]
    lines += ["| preset | sets, in every table | seeds | is |", "|---|---|---|---|"]
    for name in catalogue.options("preset"):
        preset = catalogue.load_preset(name)
        sets = " ".join(f"`{text}`" for text in preset.set) or "what the table says"
        seeds = ", ".join(map(str, preset.seeds)) if preset.seeds else "the table's"
        lines.append(f"| `{name}` | {sets} | {seeds} | {preset.about} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Rewrite the page."""
    PAGE.write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
