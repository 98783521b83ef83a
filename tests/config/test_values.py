"""Values of settings: how they are read from a command line and from files, and that every mistake
gets one line."""

from __future__ import annotations

import pytest
from kit.tables import SMALL, compose, one

from vaebench.config import catalogue
from vaebench.errors import UserError


def test_an_option_may_write_numbers_without_a_point(small):
    (small / "optim" / "mine.yaml").write_text("name: mine\nrate: 1e-4\nepsilon: 2e-5\n")
    optim = one(catalogue.load_table("small"), "optim=mine", "optim.rate=2e-4").config["optim"]

    assert optim == {"name": "mine", "rate": 2e-4, "epsilon": 2e-5}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("defaults: [sgd]\nname: mine\nrate: 1.0", "no defaults list"),
        ("- name", "expected the settings of optim=mine"),
        ("name: [mine", "not valid YAML"),
        ("name: mine\nrate: ${train.batch}", "interpolations have no part here"),
    ],
)
def test_an_option_that_cannot_be_read_is_one_line(small, text, words):
    (small / "optim" / "mine.yaml").write_text(text)
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
    read = one(table, override).config["train"][key]
    assert (read, type(read)) == (value, type(value))


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
    ("value", "read"),
    [("gpu,long", "gpu,long"), ("'gpu,long'", "gpu,long"), ("gpu", "gpu"), ("null", None)],
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
        (
            "train.updates=${train.batch}",
            ["train.updates=${train.batch}", "interpolations have no part"],
        ),
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


def test_a_mistake_of_a_table_names_its_place(small):
    path = small / "table" / "small.yaml"
    path.write_text(SMALL.replace("model.dims=[200,200]", "model.dmis=[200,200]"))

    with pytest.raises(
        UserError, match=r"^table small: rows\.SBN 200-200: unknown key 'model\.dmis'"
    ):
        compose(catalogue.load_table("small"))


def test_a_setting_of_a_replaced_option_is_an_error(small):
    path = small / "table" / "small.yaml"
    path.write_text(SMALL.replace("objective=nvil,", "objective=nvil, objective.decay=0.5,"))

    with pytest.raises(UserError) as caught:
        one(catalogue.load_table("small"), "objective=wake_sleep")

    line = str(caught.value)
    assert line.startswith(
        "SBN 200 / NVIL: objective=wake_sleep has no objective.decay, which table small: "
        "columns.NVIL sets for objective=nvil; options with all that is set here: "
    )
    assert "nvil" in line.rpartition(": ")[2].split(", ")
    assert "wake_sleep" not in line.rpartition(": ")[2]


@pytest.mark.parametrize(
    ("name", "override"),
    [
        ("aevb_bound", "objective=mdl"),
        ("dlgm_mnist", "objective=iw_bound"),
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


AEVB = {"preset": "quick", "only": ("row=N = 1,000", "column=AEVB")}


@pytest.mark.parametrize(("written", "read"), [("null", None), ("./null", "./null"), ("/x", "/x")])
def test_a_path_may_be_left_out_again(written, read):
    """A path may be null, as other settings that say so."""
    cell = one(catalogue.load_table("aevb_marginal"), f"data.mirror={written}", **AEVB)
    assert cell.config["data"]["mirror"] == read


def test_a_folder_that_must_be_there_is_not_null():
    with pytest.raises(UserError, match=r"^run.results=null: allowed: a folder$"):
        one(catalogue.load_table("aevb_marginal"), "run.results=null", **AEVB)
