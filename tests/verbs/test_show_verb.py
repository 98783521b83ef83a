"""``vaebench show``: all that a table says."""

from __future__ import annotations

from kit.commands import call, python


def test_show_has_everything(conf, capsys):
    code, out, _ = call(capsys, "show", "table=small")

    assert code == 0

    for text in (
        "A small table",
        "Table 1 of someone2014",
        "seeds differ by that much",
        "objective=wake_sleep optim.rate=1e-4",
        "model=fdarn model.dims=[200]",
        "NVIL 113.1, WS 120.8",
        "Larochelle and Murray 2011",
        "rates selected on validation",
        "here optim.rate=1e-3",
        "SBN 200 / WS: optim.rate=5e-3",
        "seeds 4, 5",
        "1. sum or mean",
        "paper  silent",
        "here   summed",
        "why    the mean learns twenty times slower",
    ):
        assert text in out, text


def test_show_imports_nothing_heavy(conf):
    code = (
        'main(["show", "table=small"]); print({"torch", "hydra", "pandas"} & '
        "set(sys.modules), file=sys.stderr)"
    )

    assert python(code, conf=conf).stderr == "set()\n"
