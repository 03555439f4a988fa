"""The benchmarks compute what they say they measure; no test here looks at a time."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from minilm import bench
from minilm.bench import machine, memory, profile, recipe, startup, train
from minilm.bench.engines import MinilmEngine
from minilm.bench.recipes import RECIPES
from minilm.errors import InputError
from minilm.models import GPTConfig

TINY = replace(
    RECIPES["char"],
    model=GPTConfig(vocab_size=11, context_length=8, num_layers=2, num_heads=2, hidden_size=16),
    batch_size=3,
    block=1,
    total_steps=6,
    warmup_steps=2,
)


class TestCommandLine:
    def test_without_a_name_it_lists_the_benchmarks(self, capsys):
        assert bench.main([]) == 2
        shown = capsys.readouterr().out
        assert all(name in shown for name in bench.SUBCOMMANDS)

    @pytest.mark.parametrize("name", bench.SUBCOMMANDS)
    def test_help_explains_each_one(self, name, capsys):
        with pytest.raises(SystemExit) as stopped:
            bench.main([name, "--help"])
        assert stopped.value.code == 0
        shown = capsys.readouterr().out
        assert "--json" in shown
        assert len(shown) > 800, "a help text that teaches is longer than its list of options"

    def test_an_unknown_name_is_one_sentence(self, capsys):
        assert bench.main(["trian"]) == 2
        assert "trian" in capsys.readouterr().err

    def test_a_missing_pytorch_is_one_sentence(self, monkeypatch, capsys):
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.setenv(machine.CHILD, "1")
        assert bench.main(["train", "--recipe", "char"]) == 2
        assert "pip install torch" in capsys.readouterr().err

    @pytest.mark.slow
    def test_the_figures_can_be_written(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv(machine.CHILD, "1")
        monkeypatch.setitem(RECIPES, "char", TINY)
        path = tmp_path / "figures.json"
        assert bench.main(["train", "--recipe", "char", "--only", "minilm", "--steps", "3", "--json", str(path)]) == 0
        document = json.loads(path.read_text())
        assert len(document["results"]["char"]["seconds"]["minilm"]) == 3
        assert "train --recipe char" in document["command"]
        assert "3" in capsys.readouterr().out


class TestMachine:
    def test_a_child_gets_the_threads_and_chooses_its_blas_kernels(self, monkeypatch):
        monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
        monkeypatch.setenv("OPENBLAS_L2_SIZE", "1024")
        child = machine.environment(3)
        assert child["OPENBLAS_NUM_THREADS"] == child["OMP_NUM_THREADS"] == "3"
        assert "OPENBLAS_CORETYPE" not in child
        assert "OPENBLAS_L2_SIZE" not in child

    def test_a_table_has_its_columns_under_each_other(self):
        lines = machine.table([["name", "ms"], ["a longer name", "1.5"], ["b", "12.25"]]).splitlines()
        assert lines[0].endswith("   ms")
        assert lines[-1] == "b              12.25"
        assert len({len(line) for line in lines}) == 1


class TestWorstDifference:
    def test_it_is_relative_to_the_norm_and_names_the_place(self):
        ours = {"a": np.array([3.0, 4.5]), "b": np.array([100.0, 0.0])}
        theirs = {"a": np.array([3.0, 4.0]), "b": np.array([100.0, 1.0])}
        where, error = train.worst_difference(ours, theirs)
        assert where == "a"
        assert error == pytest.approx(0.1)

    def test_a_nan_is_the_worst_of_all(self):
        ours = {"a": np.array([np.nan, 1.0]), "b": np.array([5.0])}
        theirs = {"a": np.array([1.0, 1.0]), "b": np.array([1.0])}
        assert train.worst_difference(ours, theirs) == ("a", np.inf)

    def test_a_gradient_that_only_one_has_is_an_error(self):
        with pytest.raises(RuntimeError, match="only one engine has"):
            train.worst_difference({"a": np.ones(1)}, {"a": np.ones(1), "b": np.ones(1)})


class TestProfile:
    def test_the_lines_are_those_of_the_model_and_the_tape_is_left_as_it_was(self):
        node, leaf = profile.tensor.Node, profile.tensor.accumulate_leaf
        engine = MinilmEngine(TINY)
        watch = profile.profiled_step(engine, *next(TINY.random_batches(1)))
        assert (profile.tensor.Node, profile.tensor.accumulate_leaf) == (node, leaf)
        fused = {"activation"}  # part of the products in this model
        assert set(watch.forward) | set(watch.backward) == set(profile.ORDER) - fused
        assert all(seconds >= 0 for seconds in [*watch.forward.values(), *watch.backward.values()])

    def test_a_watched_step_computes_the_same_bits(self):
        plain, watched = MinilmEngine(TINY, seed=3), MinilmEngine(TINY, seed=3)
        batch = next(TINY.random_batches(1))
        plain.step(*batch, lr=TINY.lr)
        profile.profiled_step(watched, *batch)
        for name, weight in plain.weights().items():
            np.testing.assert_array_equal(weight, watched.weights()[name])

    def test_the_shrunk_model_has_the_same_operations(self):
        def operations(of):
            order = []
            with pytest.MonkeyPatch.context() as patch:
                plain = profile.tensor.Node

                def counting(*arguments):
                    made = plain(*arguments)
                    order.append(made.name)
                    return made

                patch.setattr(profile.tensor, "Node", counting)
                engine = MinilmEngine(of)
                engine.model(*next(of.random_batches(1)))
            return order

        assert operations(profile.shrunk(TINY)) == operations(TINY)
        assert MinilmEngine(profile.shrunk(TINY)).model.num_parameters() < 100

    def test_the_report_shows_shares_that_add_up(self, capsys):
        figures = profile.report(TINY, 2)
        shares = [line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.endswith("%")]
        assert sum(float(share.rstrip("%")) for share in shares) == pytest.approx(100, abs=10)
        assert set(figures["lines"]) == set(profile.ORDER)


class TestRecipe:
    @pytest.fixture
    def text(self, tmp_path):
        path = tmp_path / "text.txt"
        path.write_text("the cat sat on the mat and the dog lay on the log. " * 40)
        return path

    def test_nine_tenths_are_for_training(self, text):
        made, training, validation = recipe.prepare(text, steps=10)
        assert (len(training), len(validation)) == (1836, 204)
        assert made.model.vocab_size == len(set(text.read_text()))
        assert (made.total_steps, made.warmup_steps) == (10, 5)

    def test_a_short_text_is_one_sentence(self, tmp_path):
        path = tmp_path / "short.txt"
        path.write_text("to be or not to be")
        with pytest.raises(InputError, match="context_length"):
            recipe.prepare(path)

    def test_every_target_counts_once(self):
        class Counts:
            """An engine whose loss is the mean of its targets."""

            def evaluate(self, inputs, targets):
                return targets.mean()

        tokens = np.arange(1000)
        assert recipe.evaluate(Counts(), tokens, 7) == pytest.approx(tokens[1:].mean())

    def test_it_learns(self, text):
        made, training, validation = recipe.prepare(text, steps=30)
        made = replace(made, model=replace(made.model, num_layers=1, hidden_size=32))
        engine = MinilmEngine(made, 0)
        before = recipe.evaluate(engine, validation, 64)
        result = recipe.run(engine, made, training, validation, seed=0)
        assert before == pytest.approx(np.log(made.model.vocab_size), abs=0.2)
        assert result["loss"] < before - 0.3

    def test_the_known_recipe(self):
        made = RECIPES["char"]
        schedule = made.schedule()
        assert schedule(1999) * made.lr == pytest.approx(1e-4, rel=1e-3)
        assert schedule(100) == 1
        assert (made.model.num_layers, made.model.hidden_size, made.model.context_length) == (4, 128, 64)
        assert not made.model.bias


class TestMemory:
    def test_a_child_measures_more_than_the_floor(self):
        figures = memory.in_process("char", "minilm", threads=1)
        assert figures["floor"] == 16 * MinilmEngine(RECIPES["char"]).model.num_parameters()
        assert figures["peak"] - figures["before"] > figures["floor"]

    def test_what_is_touched_counts(self):
        before = memory.peak_memory()
        block = np.ones(before // 8 + (64 << 20) // 8)  # larger than anything this process had so far
        assert memory.peak_memory() - before > 32 << 20
        assert block[0] == 1


class TestStartup:
    def test_minilm_loads_nothing_beyond_numpy(self):
        assert startup.extra_modules("minilm") == []

    def test_it_would_be_noticed(self):
        assert "pytest" in startup.extra_modules("pytest")
