"""From overrides to cells: order of precedence, labels, protocols, and the line every mistake gets."""

from __future__ import annotations

import subprocess
import sys

import pytest

from vaebench.config import catalogue
from vaebench.config.cells import GROUPS
from vaebench.config.compose import Selection, cells, parse, seeds
from vaebench.errors import UserError

TABLE = """
title: A small table
paper: someone2014
where: Table 1
recipe: 3
measure: bound
margin: 0.5
margin_why: seeds differ by that much
seeds: [0, 1, 2]
base: [data=mnist_static, model=sbn, optim=sgd, eval=bound10]
columns:
  NVIL: {set: [objective=nvil, optim.rate=3e-4]}
  WS:   {set: [objective=wake_sleep, optim.rate=1e-4]}
rows:
  SBN 200:     {set: ["model.dims=[200]"], published: {NVIL: 113.1, WS: 120.8}}
  SBN 200-200: {set: ["model.dims=[200,200]"], published: {NVIL: 99.8}}
  fDARN 200:   {set: [model=fdarn, "model.dims=[200]"], columns: [NVIL]}
  NADE 500:    {columns: [], published: {NLL: 88.9}}
presets:
  tuned:
    set: [optim.rate=1e-3, train.batch=30]
    columns: {WS: [optim.rate=2e-3]}
    rows: {SBN 200: {"*": [train.batch=40, optim.rate=4e-3], WS: [optim.rate=5e-3]}, fDARN 200: {"*": []}}
    seeds: [4, 5]
  short:
    rows: {SBN 200: {WS: [train.updates=2000000]}}
"""


@pytest.fixture
def conf(conf):
    (conf / "table" / "small.yaml").write_text(TABLE)
    return conf


@pytest.fixture
def table(conf):
    return catalogue.load_table("small")


def compose(table, preset="paper", overrides=(), only=()):
    return {(c.row, c.column): c for c in cells(table, catalogue.load_preset(preset), overrides, only)}


def one(table, *overrides, preset="paper", only=("SBN 200", "column=NVIL")):
    (cell,) = cells(table, catalogue.load_preset(preset), overrides, only)
    return cell


# ------------------------------------------------------------------------------------------------- arguments


def test_parse(conf):
    found = parse(["optim.rate=1", "table=small", "preset=quick", "model.dims=[1,2]", "run.results=a=b"])
    assert found == Selection(("small",), "quick", ("optim.rate=1", "model.dims=[1,2]", "run.results=a=b"))
    assert parse(["table=small"]).preset == "paper"


def test_parse_takes_several_tables(conf):
    (conf / "table" / "other.yaml").write_text(TABLE)
    assert parse(["table=small,other,small"]).tables == ("small", "other")
    assert parse(["table=other", "table=small"]).tables == ("other", "small")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["no table", "table=NAME", "small"]),
        (["table="], ["no table", "small"]),
        (["table=smal"], ["unknown table 'smal'", "did you mean 'small'"]),
        (["table=small", "preset=quikc"], ["unknown preset", "did you mean 'quick'"]),
        (["table=small", "quick"], ["'quick'", "key=value"]),
        (["table=small", "=3"], ["'=3'", "key=value"]),
        (["table=small", "+a=3"], ["+a=3", "prefixes"]),
        (["table=small", "++a=3"], ["++a=3", "prefixes"]),
        (["table=small", "~train.batch"], ["~train.batch", "prefixes"]),
        (["table=small", "hydra.run.dir=x"], ["hydra.run.dir", "Hydra's own"]),
    ],
)
def test_parse_says_what_is_wrong(conf, arguments, words):
    with pytest.raises(UserError) as caught:
        parse(arguments)
    assert "\n" not in str(caught.value)
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize(
    ("text", "found"),
    [("0-4", [0, 1, 2, 3, 4]), ("0,2,5", [0, 2, 5]), ("0-2,7", [0, 1, 2, 7]), ("3", [3]), ("5,1-2,2", [5, 1, 2])],
)
def test_seeds_as_given(table, text, found):
    assert seeds(table, catalogue.load_preset("quick"), text) == found


def test_seeds_of_the_nearest_source(table):
    assert seeds(table, catalogue.load_preset("tuned"), None) == [4, 5]  # the table's own for the preset
    assert seeds(table, catalogue.load_preset("quick"), None) == [0, 1]  # the preset's
    assert seeds(table, catalogue.load_preset("paper"), None) == [0, 1, 2]  # the table's


TOO_LARGE = [str(2**63), f"{2**63 - 1}-{2**63}", "9" * 22, "9" * 5000]


def test_the_largest_seed(table):
    assert seeds(table, catalogue.load_preset("paper"), str(2**63 - 1)) == [2**63 - 1]


@pytest.mark.parametrize("text", ["", "a", "-1", "1-", "4-0", "1.5", "0,,1", "0-1-2", "0-99999999999", "²", *TOO_LARGE])
def test_seeds_that_cannot_be_read(table, text):
    with pytest.raises(UserError, match="--seeds") as caught:
        seeds(table, catalogue.load_preset("paper"), text)
    assert "\n" not in str(caught.value)


# ---------------------------------------------------------------------------------------------- composition


def test_cells_of_the_paper(table):
    found = compose(table)
    assert list(found) == table.trained()
    cell = found["SBN 200-200", "WS"]
    assert cell.config["model"] == {
        "name": "sbn",
        "dims": [200, 200],
        "posterior": "factorial",
        "init": "normal",
        "init_scale": 0.1,
    }
    assert cell.config["objective"]["name"] == "wake_sleep"
    assert cell.config["optim"]["rate"] == 1e-4
    assert cell.config["recipe"] == 3
    assert found["fDARN 200", "NVIL"].config["model"]["name"] == "fdarn"
    assert found["SBN 200", "NVIL"].published == 113.1
    assert found["SBN 200-200", "WS"].published is None
    assert all(
        c.label == "" and c.paper_protocol and c.preset == "paper" and c.table == "small" for c in found.values()
    )
    assert len({c.key for c in found.values()}) == 5


def test_later_overrides_are_stronger(table):
    def rate_batch(cell):
        return cell.config["optim"]["rate"], cell.config["train"]["batch"]

    tuned = compose(table, "tuned")
    assert rate_batch(tuned["SBN 200-200", "NVIL"]) == (1e-3, 30)  # set, over the column's own
    assert rate_batch(tuned["SBN 200-200", "WS"]) == (2e-3, 30)  # columns over set
    assert rate_batch(tuned["SBN 200", "NVIL"]) == (4e-3, 40)  # rows "*" over set
    assert rate_batch(tuned["SBN 200", "WS"]) == (5e-3, 40)  # rows column over rows "*"
    user = compose(table, "tuned", ["optim.rate=7e-3", "optim.rate=8e-3"])
    assert {rate_batch(c)[0] for c in user.values()} == {8e-3}


def test_an_entry_is_stronger_than_its_row_and_column_and_weaker_than_a_preset_of_the_table(conf):
    entry = (
        'SBN 200:     {set: ["model.dims=[200]"], entries: {WS: [optim.rate=6e-4, "model.dims=[3]", train.batch=7]},'
    )
    (conf / "table" / "small.yaml").write_text(TABLE.replace('SBN 200:     {set: ["model.dims=[200]"],', entry))
    table = catalogue.load_table("small")

    def seen(cell):
        return cell.config["optim"]["rate"], cell.config["model"]["dims"], cell.config["train"]["batch"]

    paper, tuned = compose(table), compose(table, "tuned")
    assert seen(paper["SBN 200", "WS"]) == (6e-4, [3], 7)
    assert seen(paper["SBN 200", "NVIL"]) == (3e-4, [200], 20)
    assert seen(paper["SBN 200-200", "WS"]) == (1e-4, [200, 200], 20)
    assert seen(tuned["SBN 200", "WS"]) == (5e-3, [3], 40)


def test_a_preset_is_weaker_than_the_table(conf):
    (conf / "preset" / "mine.yaml").write_text("about: a\nlabel: mine\nset: [optim.rate=9, train.batch=9]\n")
    cell = one(catalogue.load_table("small"), preset="mine")
    assert (cell.config["optim"]["rate"], cell.config["train"]["batch"]) == (3e-4, 9)


def test_only_the_last_choice_of_a_group_counts(table):
    cell = one(table, "model=fdarn", "model=darn", "data=digits")
    assert cell.config["model"]["name"] == "darn"
    assert cell.config["model"]["dims"] == [200]
    assert cell.config["data"]["name"] == "digits"


def test_configs_are_plain_and_not_shared(table):
    first = one(table)
    assert type(first.config["model"]["dims"]) is list
    first.config["model"]["dims"].append(5)
    assert one(table).config["model"]["dims"] == [200]


def test_hydra_is_left_clean(table):
    from hydra.core.global_hydra import GlobalHydra

    one(table, "data=digits")
    assert not GlobalHydra.instance().is_initialized()


def test_importing_does_not_import_hydra():
    code = "import sys, vaebench.config.compose, vaebench.settings.validate\n"
    code += "print({'hydra', 'omegaconf', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_composing_is_quick_enough_to_repeat(table, monkeypatch):
    one(table)
    import hydra

    def refuse(*_, **__):
        raise AssertionError("composed again")

    monkeypatch.setattr(hydra, "compose", refuse)
    assert one(table).config == one(table, "optim.rate=3e-4").config
    assert one(table, "data=digits", "optim=adam").config["optim"]["name"] == "adam"


def test_each_override_is_read_once(table, monkeypatch):
    from hydra.core.override_parser.overrides_parser import OverridesParser

    read, real = [], OverridesParser.parse_override
    monkeypatch.setattr(OverridesParser, "parse_override", lambda self, text: read.append(text) or real(self, text))
    for batch in (3131, 3132):
        assert {c.config["train"]["batch"] for c in compose(table, overrides=[f"train.batch={batch}"]).values()} == {
            batch
        }
    assert [text for text in read if text.startswith("train.batch=313")] == ["train.batch=3131", "train.batch=3132"]
    assert len(read) == len(set(read))


def test_lists_that_were_read_once_are_not_shared(table):
    first = one(table, "model.dims=[7,8]")
    first.config["model"]["dims"].append(9)
    assert one(table, "model.dims=[7,8]", "train.batch=3").config["model"]["dims"] == [7, 8]
    first.config["optim"]["rate"] = 5.0
    assert one(table).config["optim"]["rate"] == one(table, preset="short").config["optim"]["rate"] == 3e-4


def test_options_are_what_hydra_composes():
    """Every option of every group, several in one composition by Hydra itself."""
    from hydra import compose as by_hydra
    from hydra import initialize_config_dir
    from omegaconf import OmegaConf

    from vaebench.config.compose import _defaults

    options, conf = {group: catalogue.options(group) for group in GROUPS}, str(catalogue.conf_dir())
    for i in range(max(map(len, options.values()))):
        choices = tuple((group, names[i % len(names)]) for group, names in options.items())
        with initialize_config_dir(conf, version_base="1.3"):
            wanted = by_hydra("cell", [f"{group}={name}" for group, name in choices])
        assert str(_defaults(choices, conf)) == str(OmegaConf.to_container(wanted, resolve=True))


def test_an_option_may_write_numbers_without_a_point(conf):
    (conf / "optim" / "mine.yaml").write_text("name: mine\nrate: 1e-4\nepsilon: 2e-5\n")
    found = one(catalogue.load_table("small"), "optim=mine", "optim.rate=2e-4").config["optim"]
    assert found == {"name": "mine", "rate": 2e-4, "epsilon": 2e-5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defaults: [sgd]\nname: mine\nrate: 1.0", "no defaults list"),
        ("- name", "expected the settings of optim=mine"),
        ("name: [mine", "not valid YAML"),
        ("name: mine\nrate: ${train.batch}", "interpolations have no part here"),
    ],
)
def test_an_option_that_cannot_be_read_is_one_line(conf, text, words):
    (conf / "optim" / "mine.yaml").write_text(text)
    with pytest.raises(UserError, match=words) as caught:
        one(catalogue.load_table("small"), "optim=mine")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("train.updates=2e3", "updates", 2000),
        ("train.updates=1_000", "updates", 1000),
        ("train.patience=5", "patience", 5),
        ("train.patience=null", "patience", None),
        ("train.order='shuffle'", "order", "shuffle"),
    ],
)
def test_values_are_read(table, override, key, value):
    found = one(table, override).config["train"][key]
    assert (found, type(found)) == (value, type(value))


@pytest.mark.parametrize(
    ("value", "read"),
    [
        ("[account=ml,qos=long]", ["account=ml", "qos=long"]),
        ("[exclusive]", ["exclusive"]),
        ("['account=ml','mail-type=END,FAIL']", ["account=ml", "mail-type=END,FAIL"]),
        (r"[account\=ml]", ["account=ml"]),
    ],
)
def test_an_equals_sign_in_a_value_stands_for_itself(table, value, read):
    assert one(table, f"run.sbatch={value}").config["run"]["sbatch"] == read


@pytest.mark.parametrize(
    ("value", "read"), [("gpu,long", "gpu,long"), ("'gpu,long'", "gpu,long"), ("gpu", "gpu"), ("null", None)]
)
def test_several_partitions_are_one_value(table, value, read):
    assert one(table, f"run.partition={value}").config["run"]["partition"] == read


def test_a_key_that_has_moved_names_its_successor(table):
    with pytest.raises(UserError, match=r"run\.compile is gone: write run\.engine=plain for off"):
        one(table, "run.compile=off")


def test_a_results_folder_is_taken_as_it_stands(table, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    assert one(table, "run.results=~/a=b, é").config["run"]["results"] == "/home/someone/a=b, é"
    assert one(table, "run.results=2014").config["run"]["results"] == "2014"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optim.rat=1", ["unknown key 'optim.rat'", "did you mean 'optim.rate'"]),
        ("train.update=1", ["did you mean 'train.updates'"]),
        ("updates=1", ["unknown key 'updates'", "did you mean 'train.updates'"]),
        ("trian.updates=1", ["did you mean 'train.updates'"]),
        ("zzz=1", ["unknown key 'zzz'", "allowed groups", "train"]),
        ("objective.samples=3", ["unknown key", "of objective=nvil"]),
        ("train.batch.x=1", ["unknown key 'train.batch.x'"]),
        ("train={updates: 1}", ["train", "one at a time", "train.updates"]),
        ("data@x=digits", ["unknown key 'data@x'"]),
        ("data=mnist_statik", ["unknown data 'mnist_statik'", "did you mean 'mnist_static'"]),
        ("optim=adma", ["unknown optim 'adma'", "allowed"]),
        ("model.name=darn", ["model.name", "write model=NAME"]),
        ("model.dims=[1,2", ["cannot read the value '[1,2'", "model.dims"]),
        ("train.updates=(3", ["cannot read the value '(3'", "train.updates"]),
        ("optim.rate=1,2", ["one value each"]),
        ("optim.rate=range(1,3)", ["one value each"]),
        ("train.updates=abc", ["train.updates=abc", "a whole number"]),
        ("train.updates=", ["train.updates=", "a whole number"]),
        ("train.updates=2.5", ["train.updates=2.5", "a whole number"]),
        ("train.updates=true", ["train.updates=true", "a whole number"]),
        ("train.updates=0", ["train.updates=0", "from 1 to 1,000,000,000"]),
        ("train.updates=${train.batch}", ["train.updates=${train.batch}", "interpolations have no part"]),
        ("model.dims=[3,${train.batch}]", ["model.dims=[3,${train.batch}]", "interpolations"]),
        ("train.order=random", ["train.order=random", "replacement or shuffle"]),
        ("optim.rate=nan", ["optim.rate=nan", "a finite number"]),
        ("optim.rate=-1", ["optim.rate=-1", "above 0"]),
        ("model.init_scale=inf", ["model.init_scale=inf", "a number"]),
        ("model.dims=200", ["model.dims=200", "a list of whole numbers"]),
        ("model.dims=[a]", ["model.dims=[a]", "a list of whole numbers"]),
        ("objective.local_signals=1", ["objective.local_signals=1", "true or false"]),
        ("train.patience=soon", ["train.patience=soon", "null or a whole number from 1"]),
        ("run.device=gpu", ["run.device=gpu", "cuda:N"]),
        ("run.partition=a,b;c", ["run.partition", "a,b;c"]),
        ("run.sbatch=account=ml", ["run.sbatch=account=ml", "a list of options of sbatch"]),
        ("train.updates=3=4", ["train.updates=3=4", "a whole number"]),
        ("+train.batch=3", ["prefixes"]),
        ("++train.batch=3", ["prefixes"]),
        ("~train.batch", ["prefixes"]),
        ("hydra.job.name=x", ["Hydra's own"]),
        ("recipe=3", ["recipe", "belongs to the table"]),
        ("train.batch", ["'train.batch'", "key=value"]),
    ],
)
def test_a_mistake_gets_one_line(table, override, words):
    with pytest.raises(UserError) as caught:
        one(table, override)
    line = str(caught.value)
    assert "\n" not in line
    assert len(line) < 400
    assert all(word in line for word in words), line


def test_a_mistake_of_a_table_names_its_place(conf):
    path = conf / "table" / "small.yaml"
    path.write_text(TABLE.replace("model.dims=[200,200]", "model.dmis=[200,200]"))
    with pytest.raises(UserError, match=r"^table small: rows\.SBN 200-200: unknown key 'model\.dmis'"):
        compose(catalogue.load_table("small"))


def test_a_setting_of_a_replaced_option_is_an_error(conf):
    path = conf / "table" / "small.yaml"
    path.write_text(TABLE.replace("objective=nvil,", "objective=nvil, objective.decay=0.5,"))
    with pytest.raises(UserError) as caught:
        one(catalogue.load_table("small"), "objective=wake_sleep")
    line = str(caught.value)
    assert line.startswith(
        "SBN 200 / NVIL: objective=wake_sleep has no objective.decay, which table small: columns.NVIL sets "
        "for objective=nvil; options with all that is set here: "
    )
    assert "nvil" in line.rpartition(": ")[2].split(", ")
    assert "wake_sleep" not in line.rpartition(": ")[2]


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("aevb_bound", "objective=mdl"),
        ("dlgm_mnist", "objective=mdl"),
        ("rbm_mnist", "objective=mdl"),
        ("dvae_sharp_sharp_main", "objective=mdl"),
        ("lagging_synthetic", "objective=mdl"),
        ("nvil_mnist", "model=nade"),
        ("nvil_mnist", "optim=adam"),
        ("lagging_synthetic", "eval=iw"),
    ],
)
def test_an_option_in_place_of_a_tables_own_is_named_with_its_row(name, override):
    table = catalogue.load_table(name)
    with pytest.raises(UserError) as caught:
        compose(table, overrides=[override])
    line = str(caught.value)
    assert line.partition(" / ")[0] in table.rows
    assert f": {override} has no {override.partition('=')[0]}." in line
    assert len(line) < 400


# --------------------------------------------------------------------------------------- labels and protocol


@pytest.mark.parametrize(
    ("preset", "overrides", "label"),
    [
        ("paper", [], ""),
        ("paper", ["optim.rate=3e-4"], ""),
        ("paper", ["run.threads=2", "eval.iw_samples=7", "eval=iw"], ""),
        ("paper", ["optim.rate=1e-4"], "modified"),
        ("paper", ["data=digits"], "modified"),
        ("tuned", [], "tuned"),
        ("tuned", ["run.jobs=1"], "tuned"),
        ("tuned", ["optim.rate=1"], "tuned, modified"),
        ("tuned", ["optim.rate=3e-4", "train.batch=20"], ""),
        ("quick", [], "quick"),
    ],
)
def test_label(table, preset, overrides, label):
    assert one(table, *overrides, preset=preset).label == label


def test_a_preset_that_changes_nothing_here_is_no_label(table):
    found = compose(table, "short", only=["SBN 200"])
    assert (found["SBN 200", "NVIL"].label, found["SBN 200", "WS"].label) == ("short", "")
    assert compose(table, "short", ["optim.rate=1"], ["SBN 200"])["SBN 200", "WS"].label == "modified"


@pytest.mark.parametrize(
    ("overrides", "same"),
    [
        (["optim.rate=1"], True),
        (["eval.iw_samples=5"], True),  # shown beside the bound, which is the measure
        (["eval.iw_samples=null"], True),
        (["eval.bound_samples=5"], False),
        (["eval.points=100"], False),
        (["eval.split=valid"], False),
        (["data=digits"], False),
        (["train.select=last"], False),
    ],
)
def test_paper_protocol(table, overrides, same):
    assert one(table, *overrides).paper_protocol is same


def test_paper_protocol_of_an_importance_weighted_table(conf):
    (conf / "table" / "small.yaml").write_text(TABLE.replace("measure: bound", "measure: iw_nll"))
    table = catalogue.load_table("small")
    assert one(table, "eval.bound_samples=5").paper_protocol
    assert not one(table, "eval.iw_samples=5").paper_protocol


# -------------------------------------------------------------------------------------------------- picking


@pytest.mark.parametrize(
    ("only", "found"),
    [
        (["SBN 200"], [("SBN 200", "NVIL"), ("SBN 200", "WS")]),
        (["row=SBN 200"], [("SBN 200", "NVIL"), ("SBN 200", "WS")]),
        (["column=WS"], [("SBN 200", "WS"), ("SBN 200-200", "WS")]),
        (["row=fDARN 200", "SBN 200", "column=NVIL"], [("SBN 200", "NVIL"), ("fDARN 200", "NVIL")]),
        (["column=WS", "column=NVIL", "SBN 200"], [("SBN 200", "NVIL"), ("SBN 200", "WS")]),
    ],
)
def test_only(table, only, found):
    assert list(compose(table, only=only)) == found


def test_only_knows_rows_with_an_equals_sign(conf):
    (conf / "table" / "small.yaml").write_text(
        TABLE.replace("fDARN 200: ", "row=5: ").replace(", row=5: ", ", SBN 200-200: ")
    )
    assert list(compose(catalogue.load_table("small"), only=["row=5"])) == [("row=5", "NVIL")]


@pytest.mark.parametrize(
    ("only", "words"),
    [
        (["row=SBN 20"], ["no row 'SBN 20'", "did you mean 'SBN 200'"]),
        (["column=NVLI"], ["no column 'NVLI'", "did you mean 'NVIL'"]),
        (["SBN 300"], ["no row 'SBN 300'", "did you mean"]),
        (["NADE 500"], ["nothing is trained", "NADE 500"]),
        (["fDARN 200", "column=WS"], ["nothing is trained"]),
    ],
)
def test_only_says_what_is_wrong(table, only, words):
    with pytest.raises(UserError) as caught:
        compose(table, only=only)
    assert all(word in str(caught.value) for word in words), caught.value


# ---------------------------------------------------------------------------------------------- what is shipped


def test_a_preset_that_means_nothing_for_a_table_is_refused():
    table = catalogue.load_table("nvil_variance")
    assert "tuned" not in catalogue.presets_of(table)
    with pytest.raises(UserError, match=r"nothing of preset=tuned; allowed: paper, quick, short"):
        cells(table, catalogue.load_preset("tuned"))


def test_other_data_settings_are_not_the_papers_protocol():
    table, paper = catalogue.load_table("nvil_mnist"), catalogue.load_preset("paper")
    for override, same in (("data.held_out=null", False), ("data.mirror=/x", True), ("optim.rate=1e-3", True)):
        found = cells(table, paper, [override], ["row=SBN 200"])
        assert all(c.paper_protocol is same for c in found), override


def test_a_validation_measure_asks_nothing_of_the_evaluation():
    table, short = catalogue.load_table("nvil_variance"), catalogue.load_preset("short")
    assert all(c.paper_protocol for c in cells(table, short, ["eval.points=10", "eval.iw_samples=7"]))


def test_tables_are_shipped():
    assert catalogue.options("table")


SHIPPED = [
    (name, preset) for name in catalogue.options("table") for preset in catalogue.presets_of(catalogue.load(name))
]


@pytest.mark.parametrize(("name", "preset"), SHIPPED)
def test_every_shipped_table_composes_with_every_preset(name, preset):
    table = catalogue.load_table(name)
    found = cells(table, catalogue.load_preset(preset), ["run.threads=2"])
    assert [(c.row, c.column) for c in found] == table.trained()
    assert all(c.config["run"]["threads"] == 2 and c.config["recipe"] == table.recipe for c in found)
    if preset == "paper":
        assert all(c.label == "" and c.paper_protocol for c in found)


@pytest.mark.parametrize(("written", "read"), [("null", None), ("./null", "./null"), ("/x", "/x")])
def test_a_path_may_be_left_out_again(written, read):
    """As any other setting that may be null."""
    (cell,) = cells(
        catalogue.load_table("aevb_marginal"),
        catalogue.load_preset("quick"),
        [f"data.mirror={written}"],
        ["row=N = 1,000", "column=AEVB"],
    )
    assert cell.config["data"]["mirror"] == read


def test_a_folder_that_must_be_there_is_not_null():
    with pytest.raises(UserError, match=r"^run.results=null: allowed: a folder$"):
        cells(
            catalogue.load_table("aevb_marginal"),
            catalogue.load_preset("quick"),
            ["run.results=null"],
            ["row=N = 1,000", "column=AEVB"],
        )
