"""The report: its numbers computed once more from predictions.jsonl, its tables, its pictures."""

import json
from collections import Counter

import numpy as np
import pytest
from finetune_files import ALL, GOOD, classification, tagging

from minilm.finetuning import Table, finetune
from minilm.finetuning.pictures import draw_confusion, readable_labels
from minilm.finetuning.report import example_tables
from minilm.finetuning.tables import as_text, confusion_table, lines_of, width
from minilm.metrics import ConfusionMatrix, answer_scores, bleu, chrf, rouge


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """One finished job of each task."""
    done = {}
    for task, make in ALL.items():
        folder = tmp_path_factory.mktemp(task)
        done[task] = finetune(make(folder), say=lambda line: None, progress=False).folder
    return done


def read(folder):
    report = json.loads((folder / "report.json").read_text("utf-8"))
    answers = [json.loads(line) for line in (folder / "predictions.jsonl").read_text("utf-8").splitlines()]
    return report, answers


def f1(right, predicted, actual):
    return 2 * right / (predicted + actual) if right else 0.0


def test_classification_recomputed(folders):
    report, answers = read(folders["classification"])
    assert all(a["expected"] == ("pos" if a["text"].split()[1] in GOOD else "neg") for a in answers)
    pairs = Counter((a["expected"], a["predicted"]) for a in answers)
    hits = np.array([a["expected"] == a["predicted"] for a in answers])
    assert report["scores"]["accuracy"]["score"] == pytest.approx(hits.mean())
    generator = np.random.default_rng(0)
    draws = [hits[generator.integers(0, len(hits), len(hits))].mean() for _ in range(50)]
    interval = report["scores"]["accuracy"]
    assert [interval["low"], interval["high"]] == pytest.approx(np.quantile(draws, [0.025, 0.975]).tolist())
    expected, predicted = Counter(a["expected"] for a in answers), Counter(a["predicted"] for a in answers)
    scores = [f1(pairs[c, c], predicted[c], expected[c]) for c in ("neg", "pos")]
    assert report["scores"]["macro F1"]["score"] == pytest.approx(np.mean(scores))
    assert report["confusion"]["labels"] == ["neg", "pos"]
    assert report["confusion"]["counts"] == [[pairs[a, b] for b in ("neg", "pos")] for a in ("neg", "pos")]
    (table,) = report["tables"]
    assert [row[3] for row in table["rows"]] == pytest.approx(scores)
    majority = report["baseline"]["majority"]
    assert report["baseline"]["scores"]["accuracy"] == pytest.approx(expected[majority] / len(answers))
    assert f"answering '{majority}'" in (folders["classification"] / "report.md").read_text("utf-8")


def test_tagging_recomputed(folders):
    report, answers = read(folders["tagging"])

    def entities(text):
        return Counter() if text == "(nothing)" else Counter(text.split("; "))

    right = sum((entities(a["expected"]) & entities(a["predicted"])).total() for a in answers)
    found, there = (sum(entities(a[name]).total() for a in answers) for name in ("predicted", "expected"))
    assert report["scores"]["entity F1"]["score"] == pytest.approx(f1(right, found, there))
    assert report["classes"] == ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
    words = sum(len(a["tags"]) for a in answers)
    assert np.sum(report["confusion"]["counts"]) == words == sum(len(a["text"].split()) for a in answers)


def test_answers_recomputed(folders):
    report, answers = read(folders["qa"])
    scores = answer_scores([a["predicted"] for a in answers], [a["expected"] for a in answers])
    assert report["scores"]["exact match"]["score"] == pytest.approx(scores.exact_match)
    assert report["scores"]["F1"]["score"] == pytest.approx(scores.f1)
    assert all(a["predicted"] in a["context"] for a in answers)
    assert all(a["n_best"][0]["text"] == a["predicted"] for a in answers)


def test_translation_recomputed(folders):
    report, answers = read(folders["translation"])
    texts, references = [a["predicted"] for a in answers], [a["expected"] for a in answers]
    assert report["scores"]["BLEU"]["score"] == pytest.approx(bleu(texts, references, "zh").score)
    assert report["scores"]["chrF"]["score"] == pytest.approx(chrf(texts, references))
    copied = [a["text"] for a in answers]
    assert report["baseline"]["scores"]["chrF"] == pytest.approx(chrf(copied, references))


def test_summaries_recomputed(folders):
    report, answers = read(folders["summarization"])
    scores = rouge([a["predicted"] for a in answers], [a["expected"] for a in answers], stemmer=True)
    for name, kind in (("ROUGE-1", "rouge1"), ("ROUGE-2", "rouge2"), ("ROUGE-L", "rougeL")):
        assert report["scores"][name]["score"] == pytest.approx(scores[kind].f1)
    first = [a["text"].split(".")[0] + "." for a in answers]
    expected = rouge(first, [a["expected"] for a in answers], stemmer=True)["rouge1"].f1
    assert report["baseline"]["scores"]["ROUGE-1"] == pytest.approx(expected)


@pytest.mark.parametrize("task", ALL)
def test_what_every_report_tells(folders, task):
    report, answers = read(folders[task])
    document = (folders[task] / "report.md").read_text("utf-8")
    assert report["steps"] == 3
    assert report["examples"]["test"] == len(answers)
    assert report["level"] == 0.95
    for name, interval in report["scores"].items():
        assert interval["low"] <= interval["high"]
        assert f"| {name} " in document
    assert "![Loss curve](loss.png)" in document
    assert "## Examples" in document
    assert ("![Confusion matrix](confusion.png)" in document) == (report["confusion"] is not None)


def test_tags_of_another_kind_have_no_entities(tmp_path):
    (tmp_path / "words.conll").write_text("the DT\ndog NN\n\na DT\ncat NN\nruns VB\n\n" * 10, encoding="utf-8")
    options = tagging(tmp_path, data=str(tmp_path / "words.conll"), scheme="any", max_steps=2)
    result = finetune(options, say=lambda line: None, progress=False)
    assert set(result.judgement.scores) == {"word accuracy"}
    assert result.judgement.confusion.labels == ("DT", "NN", "VB")
    assert "the/DT" in (result.folder / "report.md").read_text("utf-8")


def test_examples_right_and_wrong():
    answers = [
        {"text": f"t{n}", "expected": "a", "predicted": "ab"[n % 2], "right": n % 2 == 0, "probability": n / 10}
        for n in range(10)
    ]
    right, wrong = example_tables(answers, 3, 0)
    assert [row[2] for row in right.rows] == ["a", "a", "a"]
    assert [row[0] for row in wrong.rows] == ["t9", "t7", "t5"]  # the most certain first
    assert "3 of 5" in wrong.title
    graded = [{"text": f"t{n}", "expected": "x", "predicted": "y", "right": n / 10} for n in range(10)]
    drawn, best, worst = example_tables(graded, 2, 0)
    assert len(drawn.rows) == 2
    assert [row[0] for row in best.rows] == ["t9", "t8"]
    assert [row[0] for row in worst.rows] == ["t0", "t1"]
    assert list(example_tables(graded, 0, 0)) == []


def test_tables_stay_tables_whatever_is_in_them():
    table = Table("T", ("text", "n"), [("a|b\n<b>\x1b[31m\tc", 1234), ("中文", 5)])
    title, _, *lines = lines_of(table, "## ")
    assert title == "## T"
    assert all(line.count(" | ") == 1 for line in lines)
    assert not any(c in line for line in lines for c in "\n\x1b\t")
    assert "a\\|b \\<b>" in lines[2]
    assert "1,234" in lines[2]
    assert len({width(line) for line in lines}) == 1  # Chinese characters are twice as wide
    assert as_text("x" * 1000).endswith("…")


def test_a_large_confusion_matrix_is_told_by_its_confusions():
    counts = np.eye(20, dtype=int) * 10
    counts[3, 7], counts[5, 2] = 4, 6
    table = confusion_table(ConfusionMatrix(tuple(f"c{n}" for n in range(20)), counts))
    assert [tuple(row) for row in table.rows] == [("c5", "c2", 6, 16), ("c3", "c7", 4, 14)]
    small = confusion_table(ConfusionMatrix(("a", "b"), np.array([[1, 2], [3, 4]])))
    assert [tuple(row) for row in small.rows] == [("a", 1, 2), ("b", 3, 4)]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "labels", [("a", "b"), ("正面", "负面"), ("a$b$", "x" * 80), tuple(f"c{n}" for n in range(30))]
)
def test_pictures_of_all_kinds_of_classes(tmp_path, labels):
    path = draw_confusion(ConfusionMatrix(labels, np.eye(len(labels), dtype=int)), tmp_path / "c.png")
    assert path.read_bytes().startswith(b"\x89PNG")
    drawn, _ = readable_labels(list(labels))
    assert len(drawn) == len(labels)
    assert max(map(len, drawn)) <= 26


def test_a_class_named_like_a_formula(tmp_path):
    data = tmp_path / "odd.tsv"
    rows = "".join(
        f"a {word} thing {n}\t{label}\n" for n in range(20) for word, label in (("x", "$1|2$"), ("y", "<b>"))
    )
    data.write_text("text\tlabel\n" + rows, encoding="utf-8")
    result = finetune(classification(tmp_path, data=str(data)), say=lambda line: None, progress=False)
    assert json.loads((result.folder / "report.json").read_text("utf-8"))["classes"] == ["$1|2$", "<b>"]
