"""The documents' programs P1 to P6, each run from beginning to end, with results that are checked."""

import ast
import subprocess
import sys

import numpy as np
import program_runs as runs
import pytest

import minilm
from minilm import AutoModelForCausalLM, AutoModelForSeq2SeqLM, AutoTokenizer, BertForSequenceClassification, BertModel
from minilm.errors import InputError
from minilm.training import read_metrics

NAMES = [path.stem for path in sorted(runs.PROGRAMS.glob("p*.py"))]


@pytest.fixture
def reviews(tmp_path):
    return runs.reviews_file(tmp_path / "reviews.tsv")


def logits_of(folder, text):
    """What the model in a folder says of a text, computed with nothing but the model and the tokenizer."""
    tokenizer, model = AutoTokenizer.from_pretrained(folder), BertForSequenceClassification.from_pretrained(folder)
    ids = np.array([tokenizer.encode(text)])
    return model(ids).logits.numpy()[0]


def test_there_are_six_and_none_imports_transformers_or_torch():
    assert [name[:2] for name in NAMES] == ["p1", "p2", "p3", "p4", "p5", "p6"]
    for name in NAMES:
        tree = ast.parse((runs.PROGRAMS / f"{name}.py").read_text(encoding="utf-8"))
        modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        modules |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
        roots = {module.split(".")[0] for module in modules}
        assert roots <= {"__future__", "argparse", "collections", "math", "minilm", "numpy", "pathlib", "typing"}


@pytest.mark.parametrize("name", NAMES)
def test_help_tells_every_argument(name, capsys):
    with pytest.raises(SystemExit) as end:
        runs.load(name).main(["--help"])
    assert end.value.code == 0
    told = capsys.readouterr().out
    for word in (
        "MODEL" if "MODEL" in told else "model",
        "file",
        "--text" if name[1] != "3" else "--source",
        "Example",
    ):
        assert word in told


@pytest.mark.parametrize("name", NAMES)
def test_what_is_missing_is_named(name, tmp_path, reviews):
    program = runs.load(name)
    with pytest.raises(InputError, match="there is no file"):
        program.main([str(tmp_path), str(tmp_path / "absent.tsv")])
    column = {"3": ["--source", "text", "--target", "label"]}.get(name[1], [])
    with pytest.raises(InputError, match="no-such-model"):
        program.main([str(tmp_path / "no-such-model"), str(reviews), *column])


def test_p1_says_what_the_model_says(tmp_path, reviews, capsys):
    folder = runs.bert_folder(tmp_path / "model", noise=0.3, id2label={0: "negative", 1: "positive", 2: "neither"})
    answers = runs.load("p1_classify").main([str(folder), str(reviews)])
    lines = reviews.read_text().splitlines()[1:]
    assert len(answers) == len(lines) == 60
    for (label, probability), line in zip(answers, lines):
        z = logits_of(folder, line.split("\t")[0])
        p = np.exp(z) / np.exp(z).sum()
        assert label == ("negative", "positive", "neither")[z.argmax()]
        assert probability == pytest.approx(p.max(), abs=1e-6)
    assert len({label for label, _ in answers}) > 1  # else it would prove little
    assert (
        capsys.readouterr().out.splitlines()[0] == f"{answers[0][0]}\t{answers[0][1]:.3f}\t{lines[0].split(chr(9))[0]}"
    )


def test_p2_writes_what_the_model_finds_most_probable(tmp_path):
    folder = runs.gpt_folder(tmp_path / "model")
    (tmp_path / "prompts.tsv").write_text("text\nthe film was\nthe music with the\n")
    texts = runs.load("p2_generate").main([str(folder), str(tmp_path / "prompts.tsv"), "--tokens", "7"])
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForCausalLM.from_pretrained(folder)
    for text, prompt in zip(texts, ("the film was", "the music with the"), strict=True):
        ids = tokenizer.encode(prompt)
        for _ in range(7):  # greedy decoding, written out
            ids.append(int(model(np.array([ids])).logits.numpy()[0, -1].argmax()))
            if ids[-1] == tokenizer.eos_token_id:
                break
        assert text == tokenizer.decode(ids, skip_special_tokens=True)
        assert text.startswith(prompt)


def test_p2_draws_from_its_seed(tmp_path):
    folder = runs.gpt_folder(tmp_path / "model")
    (tmp_path / "prompts.tsv").write_text("text\nthe film was\n")
    given = [str(folder), str(tmp_path / "prompts.tsv"), "--sample", "--seed"]
    one, two, other = (runs.load("p2_generate").main([*given, seed]) for seed in ("1", "1", "2"))
    assert one == two != other


def test_p3_learns_to_summarize(tmp_path, capsys):
    folder, out = runs.t5_folder(tmp_path / "model"), tmp_path / "out"
    pairs = runs.pairs_file(tmp_path / "pairs.tsv", 160)
    options = ["--out", str(out), "--epochs", "15", "--learning-rate", "1e-2", "--beams", "2"]
    result = runs.load("p3_summarize").main([str(folder), str(pairs), *options])
    assert len(result["losses"]) == 15
    assert result["losses"][-1] < 0.3 * result["losses"][0]
    known = dict(line.split("\t") for line in pairs.read_text().splitlines())
    right = [summary == known[text] for text, summary in zip(result["texts"], result["summaries"], strict=True)]
    assert np.mean(right) > 0.9  # by chance one in six
    lines = (out / "summaries.tsv").read_text().splitlines()
    assert lines == ["summary", *result["summaries"]]
    assert "rouge1: 0." in capsys.readouterr().out
    tokenizer, model = AutoTokenizer.from_pretrained(out), AutoModelForSeq2SeqLM.from_pretrained(out)
    ids = tokenizer(f"summarize: {result['texts'][0]}", return_tensors="np")["input_ids"]
    written = model.generate(ids, num_beams=2, max_new_tokens=20)
    assert tokenizer.decode(written[0], skip_special_tokens=True) == result["summaries"][0]


def test_p4_has_the_documents_arguments(tmp_path, reviews, capsys):
    folder = runs.bert_folder(tmp_path / "base", "BertModel")
    out, logs = tmp_path / "results", tmp_path / "logs"
    result = runs.load("p4_finetune").main([str(folder), str(reviews), "--out", str(out), "--logs", str(logs)])
    args = result["trainer"].args
    told = {
        "num_train_epochs": 3, "per_device_train_batch_size": 16, "per_device_eval_batch_size": 64, "warmup_steps": 500,
        "weight_decay": 0.01, "learning_rate": 5e-5, "logging_dir": str(logs), "output_dir": str(out),
    }  # fmt: skip
    assert {name: getattr(args, name) for name in told} == told
    assert result["trainer"].state.global_step == 9  # 48 texts, 16 a step, 3 epochs
    assert "9 steps are fewer than the 500 of the warm-up" in capsys.readouterr().out
    assert result["trainer"].learning_rate == pytest.approx(5e-5 * 8 / 500)
    events = [line["event"] for line in read_metrics(logs / "metrics.jsonl")]
    assert "final" in events
    assert "evaluation" in events


def test_p4_learns(tmp_path, capsys):
    folder = runs.bert_folder(tmp_path / "base", "BertModel", hidden_dropout_prob=0.1)
    reviews, out = runs.reviews_file(tmp_path / "reviews.tsv", 300), tmp_path / "results"
    result = runs.load("p4_finetune").main([
        str(folder), str(reviews), "--out", str(out), "--logs", str(tmp_path / "logs"), "--learning-rate", "1e-2",
        "--warmup-steps", "5",
    ])  # fmt: skip
    assert result["metrics"]["eval_accuracy"] > 0.95
    assert result["metrics"]["eval_f1"] > 0.95
    assert result["metrics"]["eval_loss"] < 0.1 < result["training_loss"]
    assert "accuracy 1.000" in capsys.readouterr().out or result["metrics"]["eval_accuracy"] < 1
    tokenizer, model = AutoTokenizer.from_pretrained(out), BertForSequenceClassification.from_pretrained(out)
    assert model.config.id2label == {0: "negative", 1: "positive"}
    text = "the film was awful and the music too"
    assert model.config.id2label[int(model(np.array([tokenizer.encode(text)])).logits.numpy().argmax())] == "negative"


def test_p4_takes_ratings(tmp_path):
    rng = np.random.default_rng(0)
    lines = [f"{rating:.1f}\tthe film was fine" for rating in rng.uniform(-4, 4, 40)]
    (tmp_path / "ratings.tsv").write_text("\n".join(lines) + "\n")
    result = runs.load("p4_finetune").main([
        str(runs.bert_folder(tmp_path / "base", "BertModel")), str(tmp_path / "ratings.tsv"), "--columns", "rating", "text",
        "--label", "rating", "--ratings", "--out", str(tmp_path / "out"), "--logs", str(tmp_path / "logs"),
    ])  # fmt: skip
    assert result["trainer"].model.config.label2id == {"negative": 0, "positive": 1}


def test_p5_as_printed_cannot_run(tmp_path):
    """The document reads .logits of a BertModel."""
    model = BertModel.from_pretrained(runs.bert_folder(tmp_path / "base", "BertModel"))
    outputs = model(np.array([[1, 2, 3]]))
    assert outputs.keys() == ["last_hidden_state", "pooler_output"]
    with pytest.raises(AttributeError, match="logits"):
        _ = outputs.logits


def test_p5_learns_topics(tmp_path, reviews):
    folder, out = runs.bert_folder(tmp_path / "base", "BertModel"), tmp_path / "out"
    options = [str(folder), str(runs.reviews_file(reviews, 120)), "--epochs", "6", "--learning-rate", "1e-2"]
    result = runs.load("p5_topics").main([*options, "--out", str(out)])
    assert result["losses"][-1] < 0.3 * result["losses"][0]
    assert np.mean(result["predicted"] == result["actual"]) > 0.9
    again = runs.load("p5_topics").main([*options, "--out", str(tmp_path / "again")])
    assert again["losses"] == result["losses"]  # the same seed, the same numbers
    text = "the story was lovely and the film too"
    np.testing.assert_array_equal(logits_of(out, text), logits_of(tmp_path / "again", text))
    assert logits_of(out, text).argmax() == 1


def test_p5s_losses_are_those_of_a_loop_over_single_texts(tmp_path, reviews):
    """The mean loss of the first batch, from the logits of each text by itself: no padding, no engine's loss."""
    folder = runs.bert_folder(tmp_path / "model")
    program = runs.load("p5_topics")
    tokenizer, model = AutoTokenizer.from_pretrained(folder), BertForSequenceClassification.from_pretrained(folder)
    texts, labels = ["the film was fine", "the actor was poor and the music too"], [1, 0]
    expected = []
    for text, label in zip(texts, labels):
        z = logits_of(folder, text).astype(np.float64)
        expected.append(np.log(np.exp(z).sum()) - z[label])
    optimizer = minilm.optim.Adam(model.parameters(), lr=1e-3)
    loss = program.train_epoch(model, optimizer, tokenizer, texts, labels, [[0, 1]])
    assert loss == pytest.approx(np.mean(expected), rel=1e-5)
    assert program.train_epoch(model, optimizer, tokenizer, texts, labels, [[1, 0]]) < loss


def test_p6_learns_two_sentences(tmp_path):
    folder = runs.bert_folder(tmp_path / "base", "BertModel")
    (tmp_path / "two.tsv").write_text("text\tlabel\nthe film was great\tpositive\nthe film was awful\tnegative\n")
    program, given = runs.load("p6_two_sentences"), [str(folder), str(tmp_path / "two.tsv")]
    three = program.main(given)
    assert len(three["losses"]) == 3
    assert three["losses"][0] > three["losses"][1] > three["losses"][2]  # without dropout even 1e-5 shows
    many = program.main([*given, "--epochs", "30", "--learning-rate", "1e-2"])
    assert many["losses"][0] == three["losses"][0]
    assert many["losses"][-1] < 0.05
    assert many["predictions"] == ["positive", "negative"]


def test_one_class_is_refused_before_the_model_is_opened(tmp_path):
    (tmp_path / "one.tsv").write_text("text\tlabel\nthe film was great\tpositive\nthe film was fine\tpositive\n")
    for name in ("p4_finetune", "p5_topics", "p6_two_sentences"):
        with pytest.raises(InputError, match="at least two"):
            runs.load(name).main([str(tmp_path / "absent"), str(tmp_path / "one.tsv")])


def test_a_program_in_a_process_of_its_own(tmp_path, reviews):
    program = str(runs.PROGRAMS / "p1_classify.py")
    folder = runs.bert_folder(tmp_path / "model")
    run = [sys.executable, program, str(folder)]
    done = subprocess.run([*run, str(reviews)], capture_output=True, text=True, check=True)
    assert len(done.stdout.splitlines()) == 60
    failed = subprocess.run([*run, str(tmp_path / "absent.tsv")], capture_output=True, text=True, check=False)
    assert failed.returncode == 1
    assert failed.stderr.startswith("error: there is no file")
    assert "Traceback" not in failed.stderr
