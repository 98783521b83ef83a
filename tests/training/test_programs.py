"""Compiled steps that check shapes alone: which program takes which input."""

from functools import partial

import pytest
import torch

from vaebench.training.programs import NotCompiled, Programs


class Scale:
    """A pack of one number; ``factor`` is a constant of its program."""

    def __init__(self, factor, value):
        self.factor = factor
        self.value = torch.tensor(value)

    def step(self, index, noise, binarize, clock):
        drawn = sum(v.sum() for v in noise.values())
        grey = 0.0 if binarize is None else binarize.sum()
        return {"out": self.factor * self.value + drawn + index.sum() + grey + clock}


@pytest.fixture(autouse=True)
def traced(monkeypatch):
    """Do everything that the compiler does except the C++."""
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))


def call(programs, size=3, grey=None):
    """Make one step: factor * value + 2 * size + the sum of ``grey``."""
    index = torch.ones(size, dtype=torch.long)
    return programs(index, {"a": torch.ones(size)}, grey, torch.tensor(0))["out"].item()


def test_two_packs_of_one_class_keep_their_own_programs():
    first = Programs(Scale(2.0, 1.0).step, {})
    assert call(first) == 8

    second = Programs(Scale(10.0, 1.0).step, {})

    # The second would give the number of the first if it took its program.
    assert [call(second), call(first), call(second)] == [16, 8, 16]


def test_values_of_tensors_are_read_anew():
    scale = Scale(2.0, 1.0)
    programs = Programs(scale.step, {})
    call(programs)
    scale.value.add_(1)

    assert call(programs) == 10


def test_inputs_of_other_shapes_get_another_program():
    programs = Programs(Scale(2.0, 1.0).step, {})
    assert [call(programs, 3), call(programs, 4), call(programs, 3)] == [8, 10, 8]
    assert call(programs, 3, torch.ones(2)) == 10
    assert call(programs, 3, torch.ones(5)) == 13
    assert call(programs, 3) == 8

    # For sizes 3 and 4, and for each of two shapes of ``grey``.
    assert len(programs.found) == 4


def test_nothing_is_looked_at():
    """This makes a program cheap: if a setting changes after all, that is not noticed."""
    scale = Scale(2.0, 1.0)
    programs = Programs(scale.step, {})
    call(programs)
    scale.factor = 50.0

    assert call(programs) == 8


def test_an_error_of_the_compiler_is_one_line(monkeypatch):
    """An error of the step itself stays what it is."""
    CompilerError = type("CppError", (RuntimeError,), {"__module__": "torch._inductor.exc"})

    def fails(step, error, **how):
        """Compile to a program that raises ``error``."""

        def call(*args):
            raise error

        return call

    for error, kind in (
        (CompilerError("C++ compile error\n" + "int x;" * 999), NotCompiled),
        (KeyError("w"), KeyError),
    ):
        monkeypatch.setattr(torch, "compile", partial(fails, error=error))
        programs = Programs(Scale(2.0, 1.0).step, {})

        with pytest.raises(kind) as told:
            call(programs)

        assert len(str(told.value)) < 300
        assert "\n" not in str(told.value)
        assert not programs.found
