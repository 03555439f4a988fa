"""The task benchmark: its rows are commands that work, its table says what was measured, its baselines learn."""

import json
import sys

import numpy as np
import pytest

from minilm import bench
from minilm.bench import machine, tasks, tasks_run
from minilm.bench import tasks_baselines as baselines
from minilm.bench.tasks_rows import ROWS, Row, chosen_rows, option_names
from minilm.bench.tasks_table import agreement, markdown, verdict
from minilm.data import Answer, PairExample, QuestionExample, TextExample, TokensExample
from minilm.errors import InputError
from minilm.finetuning import TASKS

GOOD, BAD = (
    ("a lovely film", "lovely and warm", "what a warm film"),
    ("a dull film", "dull and cold", "what a cold film"),
)
REVIEWS = [TextExample(text, "good") for text in GOOD] + [TextExample(text, "bad") for text in BAD]


def sklearn():
    pytest.importorskip("sklearn", reason="the baselines are scikit-learn's, which is not installed")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
class TestRows:
    def test_its_options_are_those_of_the_task_and_can_work(self, row, tmp_path):
        assert set(row.options) <= option_names(row.task)
        options = row.make(tmp_path, "an/encoder", tmp_path / "out")
        options.check()
        assert (options.model == "an/encoder") == (row.start == "MiniLM-L6")
        assert options.task == row.task
        assert "seed" in row.options, "a row names its seed"
        assert options.gradient_accumulation_steps == 1

    def test_its_command_says_the_same(self, row, tmp_path):
        words = row.command("DATA").split()
        assert words[:3] == ["minilm", "finetune", row.task]
        given = dict(zip(words[3::2], words[4::2]))
        for name, value in {**row.options, **{k: f"DATA/{v}" for k, v in row.files.items()}}.items():
            assert given.pop(f"--{name}") == str(value)
        assert set(given) == ({"--model"} if row.start == "MiniLM-L6" else set())


def test_rows_are_chosen_by_name_and_start():
    assert [row.key for row in chosen_rows(["movie"])] == ["movie-scratch", "movie-minilm-l6"]
    assert [row.key for row in chosen_rows(["movie", "ner"], "scratch")] == ["movie-scratch", "ner-scratch"]
    assert len(chosen_rows([])) == len(ROWS) == len({row.key for row in ROWS})
    with pytest.raises(InputError, match=r"moive.*movie"):
        chosen_rows(["moive"])
    with pytest.raises(InputError, match="no encoder fits tatoeba"):
        chosen_rows(["tatoeba"], "MiniLM-L6")


class TestCommand:
    def test_list_shows_every_command_and_needs_nothing(self, capsys, monkeypatch):
        monkeypatch.delenv("MINILM_DATA", raising=False)
        assert bench.main(["tasks", "--list"]) == 0
        shown = capsys.readouterr().out
        assert all(row.command() in shown for row in ROWS)

    def test_data_that_are_not_named_or_not_there_are_one_sentence(self, capsys, monkeypatch, tmp_path):
        monkeypatch.delenv("MINILM_DATA", raising=False)
        assert bench.main(["tasks", "movie"]) == 2
        assert "set MINILM_DATA" in capsys.readouterr().err
        assert bench.main(["tasks", "movie", "--data", str(tmp_path)]) == 2
        assert "movie_sentiment.tsv" in capsys.readouterr().err
        assert bench.main(["tasks", "moive"]) == 2
        assert list(tmp_path.iterdir()) == []


@pytest.fixture
def tiny_row(monkeypatch, tmp_path):
    """A row of generated reviews, as the only one; this process is the benchmark's child."""
    rng = np.random.default_rng(0)
    lines = ["label\ttext"]
    for n in range(60):
        words = rng.choice(["film", "plot", "actor", "scene"], 3).tolist()
        lines.append(f"{'good' if n % 2 else 'bad'}\t{' '.join(words)} {'lovely' if n % 2 else 'dull'}")
    (tmp_path / "reviews.tsv").write_text("\n".join(lines) + "\n")
    recipe = {"max_length": 16, "batch_size": 8, "seed": 3, "epochs": 1, "vocab_size": 60, "resamples": 50}
    row = Row("movie", "scratch", "reviews", "classification", {"data": "reviews.tsv"}, recipe)
    for module in ("tasks", "tasks_rows"):
        monkeypatch.setattr(f"minilm.bench.{module}.ROWS", (row,))
    monkeypatch.setenv(machine.CHILD, "1")
    return row


def run(tmp_path, *more):
    return tasks.main(["movie", "--data", str(tmp_path), "--out", str(tmp_path / "out"), *more])


class TestRunning:
    def test_a_row_is_trained_judged_and_kept(self, tiny_row, tmp_path, capsys):
        assert run(tmp_path, "--no-baseline", "--json", str(tmp_path / "all.json")) == 0
        kept = json.loads((tmp_path / "out" / "movie-scratch.json").read_text())
        score, low, high = kept["minilm"]["scores"]["accuracy"]
        assert 0 <= low <= score <= high <= 1
        assert kept["minilm"]["steps"] == 6
        assert kept["minilm"]["examples"] == {"training": 48, "validation": 6, "test": 6}
        assert "transformers" not in kept
        assert "baselines" not in kept
        table = (tmp_path / "out" / "tasks.md").read_text()
        assert f"{100 * score:.1f} ({100 * low:.1f}" in table
        assert tiny_row.command() in table
        assert json.loads((tmp_path / "all.json").read_text())["results"]["movie-scratch"]["minilm"] == kept["minilm"]

    def test_what_is_there_is_not_computed_again_unless_asked(self, tiny_row, tmp_path, monkeypatch):
        calls = []
        fake = {
            "scores": {"accuracy": [0.5, 0.4, 0.6]},
            "steps": 6,
            "threads": 1,
            "training_seconds": {"processor": 60.0},
        }
        monkeypatch.setattr(tasks_run, "run_minilm", lambda job: calls.append(job.row.key) or fake)
        for more, expected in (([], 1), ([], 1), (["--again"], 2)):
            run(tmp_path, "--no-baseline", *more)
            assert len(calls) == expected

    def test_the_same_seed_gives_the_same_score(self, tiny_row, tmp_path):
        job = tasks_run.Job(tiny_row, tmp_path, "", 1, lambda line: None)
        first, second = tasks_run.run_minilm(job), tasks_run.run_minilm(job)
        assert first["scores"] == second["scores"]
        assert first["losses"] == second["losses"]

    def test_validation_and_test_may_differ_in_size(self, tmp_path):
        """The metrics of validation know its sentences; the test part has others, and more of them."""
        sentences = [f"{name} B-PER\nleft O\n" for name in ("Ann", "Bob", "Eve", "Dan") * 10]
        (tmp_path / "names.conll").write_text("\n".join(sentences))
        recipe = {
            "seed": 0, "max_length": 16, "vocab_size": 40, "max_steps": 2, "resamples": 10, "validation_fraction": 0.1,
            "test_fraction": 0.4,
        }  # fmt: skip
        row = Row("ner", "scratch", "names", "tagging", {"data": "names.conll"}, recipe)
        made = tasks_run.run_minilm(tasks_run.Job(row, tmp_path, "", 1, lambda line: None))
        assert made["examples"] == {"training": 20, "validation": 4, "test": 16}

    def test_without_scikit_learn_the_rest_is_measured(self, tiny_row, tmp_path, capsys, monkeypatch):
        for name in [name for name in sys.modules if name.split(".")[0] == "sklearn"]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "sklearn", None)
        assert run(tmp_path) == 0
        assert "pip install scikit-learn" in capsys.readouterr().err
        assert "minilm" in json.loads((tmp_path / "out" / "movie-scratch.json").read_text())

    def test_without_transformers_it_is_one_sentence(self, tiny_row, tmp_path, capsys, monkeypatch):
        monkeypatch.setitem(sys.modules, "torch", None)
        monkeypatch.setattr(sys, "argv", ["bench"])
        assert bench.main(["tasks", "movie", "--data", str(tmp_path), "--out", str(tmp_path / "out"),
                           "--engine", "transformers", "--no-baseline"]) == 2  # fmt: skip
        assert "pip install torch" in capsys.readouterr().err


class TestBaselines:
    def test_words_tell_the_class(self):
        sklearn()
        made = baselines.classify(REVIEWS, REVIEWS[:1] + REVIEWS[-1:], [TextExample("warm"), TextExample("cold, dull")])
        assert made.predictions == ["good", "bad"]

    def test_words_and_their_neighbours_tell_the_tag(self):
        sklearn()
        training = [TokensExample(("in", name, "today"), ("O", "B-LOC", "O")) for name in ("Rome", "Paris", "Oslo")]
        training += [TokensExample(("said", name, "today"), ("O", "B-PER", "O")) for name in ("Ann", "Bob", "Eve")]
        test = [TokensExample(("in", "Bonn", "today"), ("O",) * 3), TokensExample(("said", "Jim", "today"), ("O",) * 3)]
        assert baselines.tag(training * 5, test).predictions == [["O", "B-LOC", "O"], ["O", "B-PER", "O"]]
        frequent = baselines.frequent_tag(training, [TokensExample(("rome", "Bonn"), ("O", "O"))])
        assert frequent.predictions == [["B-LOC", "O"]]

    def test_the_answer_stands_near_the_questions_words(self):
        sklearn()
        context = (
            "The old town lies on a river. Its tower was built by Matilda Longstone in the winter. It rained a lot."
        )
        question = QuestionExample("1", "By whom was the tower built?", context, (Answer("Matilda Longstone", 56),))
        others = [QuestionExample("2", "What?", "The winter was in the town by a river and it was old.", ())]
        (found,) = baselines.answer(others, [question]).predictions
        assert "Matilda" in found
        empty = QuestionExample("3", "What?", "…", ())
        assert baselines.answer(others, [empty]).predictions == [""]

    def test_the_nearest_sentence_is_copied(self):
        sklearn()
        training = [PairExample("I like tea.", "我喜欢茶。"), PairExample("He runs home.", "他跑回家。")]
        made = baselines.translate(training, [PairExample("He runs.", ""), PairExample("You like tea?", "")])
        assert made.predictions == ["他跑回家。", "我喜欢茶。"]

    def test_sentences_stand_for_the_whole_text(self):
        text = "We thank all. Deep networks learn features of images. Networks learn deep features of text and images."
        assert baselines.lead([PairExample(text, "")]).predictions == ["We thank all."]
        assert baselines.sentences("  ") == ["  "]
        sklearn()
        (central,) = baselines.summarize([PairExample(text, "")], [PairExample(text, "")]).predictions
        assert "features" in central


def engine(score, low, high, **more):
    return {"scores": {"accuracy": [score, low, high], "macro F1": [0, 0, 0]}, "steps": 120, "examples": {"test": 1004},
            "threads": 2, "training_seconds": {"wall": 400.0, "processor": 180.0}, **more}  # fmt: skip


class TestTable:
    ROW = Row("movie", "scratch", "movie reviews", "classification", {"data": "m.tsv"}, {"seed": 7})

    def line(self, result):
        return [cell.strip() for cell in markdown([(self.ROW, result)]).splitlines()[2].strip("|").split("|")]

    def test_a_line_has_every_figure(self):
        result = {
            "minilm": engine(0.8123, 0.79, 0.834), "transformers": engine(0.8, 0.7, 0.9),
            "baselines": [{"name": n, "scores": {"accuracy": [score, 0, 1]}} for n, score in (("a", 0.6), ("b", 0.75))],
            "times": {"ratio": 1.254, "medians": [0.5, 0.6]},
        }  # fmt: skip
        assert self.line(result) == [
            "movie reviews", "scratch", "1,004", "accuracy", "81.2 (79.0–83.4)", "80.0", "75.0", "7",
            "120 steps, 1.0 min", "1.25",
        ]  # fmt: skip

    def test_a_baseline_has_its_name_under_the_table(self):
        result = {
            "minilm": engine(0.8, 0.7, 0.9),
            "baselines": [{"name": "words", "scores": {"accuracy": [0.9, 0, 1]}}],
        }
        assert "Baseline of movie reviews: words." in markdown([(self.ROW, result)])

    def test_what_is_missing_is_a_dash_and_empty_rows_are_left_out(self):
        cells = self.line({"minilm": engine(0.8, 0.7, 0.9)})
        assert cells[4:] == ["80.0 (70.0–90.0)", "–", "–", "7", "120 steps, 1.5 min", "–"]
        assert "movie reviews" not in markdown([(self.ROW, {})])

    @pytest.mark.parametrize(("simple", "expected"), [(0.95, "is better"), (0.82, "a little more"), (0.79, "")])
    def test_it_says_where_a_bag_of_words_wins(self, simple, expected):
        result = {
            "minilm": engine(0.8, 0.7, 0.9), "baselines": [{"name": "words", "scores": {"accuracy": [simple, 0, 1]}}],
        }  # fmt: skip
        said = verdict(self.ROW, result)
        assert expected in said
        assert bool(said) == bool(expected)

    @pytest.mark.parametrize(("theirs", "expected"), [(0.75, "is within"), (0.69, "is OUTSIDE")])
    def test_it_says_whether_the_engines_agree(self, theirs, expected):
        result = {"minilm": engine(0.8, 0.7, 0.9), "transformers": engine(theirs, 0, 1)}
        assert expected in agreement(self.ROW, result)


def test_every_task_has_rows():
    assert {row.task for row in ROWS} == set(TASKS)
