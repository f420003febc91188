"""A number on the command line that is none, or is out of range, ends in one sentence, whatever the option."""

import click
import pytest
from click.testing import CliRunner

from benchmark.cli import main
from benchmark.cli.numbers import MOST_RUNS, Number
from benchmark.cli.options import settings_of

NO_NUMBERS = ("nan", "inf", "-inf", "1e999", "-1e-3", "-1", "1_0", "0x10", "１０", "", "ten", "9" * 5000)


def numeric_options() -> list[tuple[str, click.Option]]:
    """Every option of every command that takes a number, or a list of them."""
    found = []
    with click.Context(main) as ctx:
        for name in main.list_commands(ctx):
            command = main.get_command(ctx, name)
            for option in command.params:
                lists = option.name in ("ratios", "draws", "seeds", "batches", "together")
                if isinstance(option.type, Number) or lists:
                    found.append((name, option))
    return found


OPTIONS = numeric_options()


def bench(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(words))
    assert isinstance(result.exception, SystemExit | None), result.exception
    return result.exit_code, result.output


def test_no_option_takes_a_number_unchecked():
    unchecked = (click.types.IntParamType, click.types.FloatParamType)
    with click.Context(main) as ctx:
        for name in main.list_commands(ctx):
            command = main.get_command(ctx, name)
            assert not [o.name for o in command.params if isinstance(o.type, unchecked)], name
    assert len(OPTIONS) > 60


@pytest.mark.parametrize(("command", "option"), OPTIONS, ids=lambda one: getattr(one, "name", one))
def test_what_is_no_number_is_refused_by_the_name_of_the_option(command, option):
    for text in NO_NUMBERS:
        if option.multiple and not text:
            continue  # a list without a word, see below
        code, said = bench(command, f"{option.opts[0]}={text}")
        assert code == 1 and said.count("\n") == 1, said
        assert said.startswith(f"Error: {option.opts[0]} is ") and "; give a" in said and "such as" in said, said
        assert len(said) < 200


@pytest.mark.parametrize("option", ["--methods", "--ratios", "--seeds", "--draws", "--variants"])
def test_a_list_without_a_word_is_not_the_default(option):
    for text in ("", ",", " , "):
        code, said = bench("sweep", "quick", f"{option}={text}", "--dry-run")
        assert code == 1 and f"{option} names nothing" in said


@pytest.mark.parametrize("option", ["--draws", "--seeds"])
def test_zero_draws_are_not_the_default(option):
    code, said = bench("sweep", "quick", option, "0", "--dry-run")
    assert code == 1 and f"{option} 0 is none at all; give {option} 1" in said


@pytest.mark.parametrize("option", ["--draws", "--seeds"])
def test_a_date_meant_as_one_seed_is_refused_with_the_way_to_say_it(option):
    code, said = bench("sweep", "main", option, "20260131", "--dry-run")
    assert code == 1 and "20,260,131" in said and f"{option} 20260131,\n" in said
    code, said = bench("sweep", "main", option, "2026", "--dry-run")
    assert code == 1 and f"{option} 2026,\n" in said and "at most 10,000" in said


@pytest.mark.parametrize(
    "words",
    [
        ["sweep", "main", "--ratios", ",".join(f"0.{i:04}" for i in range(1, 999))],
        ["ablate", "cdma", "--draws", "100", "--seeds", "1000"],
        ["tune", "main", "--trials", "9999"],
    ],
)
def test_any_plan_that_is_too_large_is_refused_with_its_size(words):
    code, said = bench(*words, "--dry-run")
    assert code == 1 and f"at most {MOST_RUNS:,} are allowed" in said and " × " in said and "give fewer" in said


@pytest.mark.parametrize("text", ["NaN", "nan", "-inf", "Infinity", "1e999", "[0.1, NaN]", "9" * 5000, "[" * 9999])
def test_a_setting_that_is_no_finite_number_is_refused(text):
    with pytest.raises(ValueError, match="--set weight is .*; give a finite number, such as --set weight=0.5"):
        settings_of((f"weight={text}",))


@pytest.mark.parametrize("pair", ["weight", "=3", " =3"])
def test_a_setting_without_a_name_or_a_value_is_refused(pair):
    with pytest.raises(ValueError, match="give --set KEY=VALUE"):
        settings_of((pair,))


def test_settings_are_read_as_before():
    pairs = ("a=1", "b=0.5", "c=true", 'd=["x", 2]', "e=none", "f=-2", "nan=infinite")
    read = {"a": 1, "b": 0.5, "c": True, "d": ["x", 2], "e": "none", "f": -2, "nan": "infinite"}
    assert dict(settings_of(pairs)) == read


def test_a_weight_below_0_and_one_that_is_no_number_are_refused_by_the_registry():
    import methods

    for value, said in ((-1, "at least 0"), (float("nan"), "a finite number"), (float("inf"), "a finite number")):
        with pytest.raises(ValueError, match=f"Setting 'weight' is {value:g}; give .*{said}"):
            methods.check("mean_teacher", {"weight": value})
