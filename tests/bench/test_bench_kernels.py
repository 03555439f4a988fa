"""`minilm bench kernels` times what it says and notices what is wrong; no test here looks at a time."""

import argparse
import io
import json

import numpy as np
import pytest

from minilm import bench
from minilm.bench import kernel_cases, kernel_memory, kernel_timing, kernels
from minilm.bench.kernel_cases import Case, cases
from minilm.bench.kernel_pairs import Attention, Kernels, NotBuiltError, Pair
from minilm.errors import InputError
from minilm_kernels import gelu, use_kernels

torch = pytest.importorskip("torch", reason="PyTorch is what the kernels are timed against; pip install torch")

QUICK = {case.name: case for case in cases(list(kernel_cases.GROUPS), quick=True)}


def options(**changes):
    plain = {
        "backend": "reference",
        "threads": [1],
        "quick": True,
        "fresh_memory": True,
        "reps": 2,
        "seconds": 1,
        "pause": 0,
    }
    return argparse.Namespace(**{**plain, **changes})


@pytest.fixture(autouse=True)
def threads_as_before():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def constant_pair(mine, other):
    return lambda kernels, torch: Pair(lambda: (np.array(mine),), lambda: (torch.tensor(other),), "a constant")


class TestCases:
    @pytest.mark.parametrize("name", QUICK)
    def test_both_sides_compute_the_same(self, name):
        with Kernels("reference") as reference:
            pair = QUICK[name].build(reference, torch)
            with pair.around:
                ours, theirs = pair.ours(), pair.theirs()
        dtype = str(kernel_timing.as_array(theirs[0]).dtype)
        assert ("float64" in name) == (dtype == "float64")
        assert kernel_timing.worst_difference(ours, theirs) <= kernels.TOLERANCE[dtype]

    def test_every_line_of_the_issue_is_there_with_its_promise(self):
        full = {case.name: (case.floor, case.aim) for case in cases(list(kernel_cases.GROUPS))}
        assert full["attention (8, 6, 256, 64)"] == (1.1, 1.3)
        assert full["attention causal (4, 12, 1024, 64)"] == (1.4, 2.0)
        assert full["attention causal (1, 8, 8192, 64)"] == (1.2, 1.35)
        assert full["attention backward causal (1, 12, 4096, 64)"] == (1.2, 1.9)
        assert full["decode (1, 12, 1, 64) × 2048 keys"] == (0.95, 1.1)
        assert full["softmax cross-entropy forward + backward 1024 × 50257"] == (3.0, 5.0)
        assert full["AdamW 124,439,808 parameters"] == (1.0, 1.15)
        assert full["linear weight gradient 768 × 128 → 384"] == (0.85, 1.0)
        assert sum(name.startswith("linear") for name in full) == 60
        for words in ("head_dim 48", "padding mask", "grouped queries", "Tq ≠ Tk", "float64"):
            assert {limits for name, limits in full.items() if words in name} == {(1.0, 1.2)}

    def test_quick_sizes_promise_nothing(self):
        assert all(case.floor is None and case.aim is None for case in QUICK.values())

    def test_a_padded_text_keeps_some_keys_and_loses_some(self):
        *_, seen = Attention(4, 2, 8, 4, padding=True).inputs()
        assert seen.sum(axis=1).tolist() == [8, 7, 6, 5]

    def test_an_unknown_group_is_one_sentence(self):
        with pytest.raises(InputError, match=r"no group 'atention'.*choose from attention"):
            cases(["atention"])

    def test_a_kernel_that_a_backend_lacks_is_told_apart_from_a_broken_one(self):
        with Kernels("reference") as reference, pytest.raises(NotBuiltError, match="no_such_kernel"):
            reference("no_such_kernel")

    def test_no_other_backend_can_serve_by_mistake(self):
        with use_kernels("reference"), Kernels("reference") as reference:
            assert reference("gelu") is gelu
            reference.backend = "numba"
            with pytest.raises(RuntimeError, match="now reference would serve"):
                reference("gelu")


class TestComparison:
    def test_it_is_relative_to_the_largest_and_takes_the_worst_result(self):
        ours, theirs = [np.array([1.0, 2.0]), np.array([10.0, 3.0])], [np.array([1.0, 2.0]), np.array([10.0, 4.0])]
        assert kernel_timing.worst_difference(ours, theirs) == pytest.approx(0.1)

    @pytest.mark.parametrize("wrong", [np.array([1.0, np.nan]), np.array([1.0]), np.array([[1.0, 2.0]])])
    def test_a_nan_or_another_shape_is_infinitely_wrong(self, wrong):
        assert kernel_timing.worst_difference([wrong], [np.array([1.0, 2.0])]) == np.inf

    def test_another_number_of_results_is_an_error(self):
        with pytest.raises(ValueError, match="zip"):
            kernel_timing.worst_difference([np.ones(1)], [np.ones(1), np.ones(1)])

    @pytest.mark.parametrize(
        ("ratio", "difference", "state"),
        [(1.0, 0.0, "BELOW"), (1.1, 0.0, ""), (1.3, 0.0, "aim"), (9.0, 1e-3, "DIFFERS"), (9.0, np.nan, "DIFFERS")],
    )
    def test_what_is_said_about_a_result(self, ratio, difference, state):
        result = {"ratio": ratio, "difference": difference, "dtype": "float32", "floor": 1.1, "aim": 1.3}
        assert kernels.state_of({**result, "ratio_of_fastest": ratio}) == state

    def test_ratios_that_are_far_apart_are_not_judged(self):
        result = {"difference": 0.0, "dtype": "float32", "floor": 1.1, "aim": 1.3}
        assert kernels.state_of({**result, "ratio": 94.0, "ratio_of_fastest": 1.6}) == "noisy"
        assert kernels.state_of({**result, "ratio": 0.9, "ratio_of_fastest": 1.6}) == "noisy"
        assert kernels.state_of({**result, "ratio": 1.0, "ratio_of_fastest": 1.05}) == "BELOW"


class TestMeasuring:
    def test_they_take_turns_and_the_first_one_changes(self):
        order = []
        pair = Pair(lambda: order.append("ours"), lambda: order.append("torch"), "nothing")
        times = kernel_timing.time_pair(pair, reps=16, seconds=60, pause=0)
        assert len(times["ours"]) == len(times["torch"]) >= 16
        turns = [who for i, who in enumerate(order) if i == 0 or order[i - 1] != who]
        # after the first look (ours, torch): ours, torch | torch, ours | ours, torch ...
        rounds = order[8:]
        sizes = {rounds[i : i + 18].count("ours") for i in range(0, len(rounds), 18)}
        assert sizes == {9}, "8 timed calls and one to wake the threads in each turn"
        assert {rounds[i] for i in range(0, len(rounds), 18)} == {"ours", "torch"}
        assert len(turns) > 4

    def test_a_long_case_stops_early_but_not_before_five_calls(self):
        pair = Pair(lambda: None, lambda: None, "nothing")
        assert 5 <= len(kernel_timing.time_pair(pair, reps=10_000, seconds=0, pause=0)["ours"]) < 100

    def test_results_that_differ_a_missing_and_a_broken_kernel_are_each_visible(self, monkeypatch):
        def missing(kernels, torch):
            kernels("flash_gordon")

        def broken(kernels, torch):
            raise RuntimeError("the first line\nand more")

        chosen = [
            Case("loss", "same", "1", constant_pair(2.0, 2.0), 0.0, 1e9),
            Case("loss", "another", "2", constant_pair(2.0, 2.5), 0.0, 1e9),
            Case("loss", "missing", "3", missing, 1.5),
            Case("loss", "broken", "4", broken, 1.5),
        ]
        monkeypatch.setattr(kernel_timing, "time_pair", lambda *_: {"ours": [1.0, 1.0], "torch": [2.0, 2.0]})
        found = [r for r in kernels.measure_all(chosen, options()) if "begins" not in r]
        assert [r["state"] for r in found] == ["", "DIFFERS", "not built", "failed"]
        assert torch.get_num_threads() == 1
        json.dumps(found)
        table = kernels.table_of(found)
        assert {len(row) for row in table} == {len(kernels.HEAD)}
        assert "not built" in table[3]
        text = kernels.summary(found)
        assert "1 of 2 at or above their floor" in text
        assert "1 not measured, because these kernels are not built: flash_gordon" in text
        assert "FAILED: broken 4: RuntimeError: the first line" in text
        assert "**DIFFERS**" in kernels.markdown(table)

    def test_each_number_of_threads_reaches_pytorch(self):
        seen = []

        def build(kernels, torch):
            seen.append(torch.get_num_threads())
            return constant_pair(1.0, 1.0)(kernels, torch)

        for threads in (1, 2):
            list(kernels.measure_all([Case("loss", "a", "1", build)], options(threads=[threads])))
        assert seen == [1, 2]

    def test_a_kernel_that_ends_its_process_has_failed_and_the_others_go_on(self, monkeypatch):
        chosen = [Case("loss", "case", str(i), constant_pair(1.0, 1.0)) for i in range(3)]
        commands = []

        class Child:
            def __init__(self, command, **_):
                start = int(command[command.index("--start") + 1])
                commands.append(command)
                lines = []
                for i in range(start, 3):
                    lines.append({"begins": f"case {i}"})
                    if i == 1:
                        break
                    lines.append({"name": f"case {i}", "state": ""})
                self.returncode = -11 if start <= 1 else 0
                self.stdout = io.StringIO("".join(json.dumps(line) + "\n" for line in lines))

            def __enter__(self):
                return self

            def __exit__(self, *_):
                pass

        monkeypatch.setattr(kernels.subprocess, "Popen", Child)
        found = [r for r in kernels.in_children(chosen, ["loss"], 2) if "begins" not in r]
        assert [(r["name"], r["state"]) for r in found] == [("case 0", ""), ("case 1", "failed"), ("case 2", "")]
        assert len(commands) == 2
        assert commands[0][-4:-2] == ["--threads", "2"]


class TestMemory:
    @pytest.mark.parametrize(
        ("direction", "extra", "state"),
        [
            ("forward", 90, "aim"),
            ("forward", 101, "ABOVE"),
            ("backward", 90, ""),
            ("backward", 33, "aim"),
            ("forward", None, "not built"),
        ],
    )
    def test_it_is_judged_by_its_share_of_pytorchs(self, direction, extra, state, monkeypatch):
        def in_process(engine, *_):
            return {"extra": 100 if engine == "torch" else extra, "results": 8, "against": "flash"}

        monkeypatch.setattr(kernel_memory, "in_process", in_process)
        results = kernel_memory.compare("reference", True, 1)
        [result] = [r for r in results if direction in r["name"]]
        assert result["state"] == state
        assert len({len(row) for row in kernel_memory.rows(results)}) == 1

    @pytest.mark.slow
    def test_a_score_matrix_shows_beside_flash(self, capsys):
        assert bench.main(["kernels", "memory", "--quick", "--backend", "reference", "--threads", "1"]) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("attention")]
        assert all("flash" in line and line.endswith("ABOVE") for line in lines)
        assert len(lines) == 2


class TestCommand:
    def test_the_table_is_printed_and_written(self, tmp_path, capsys):
        page, figures = tmp_path / "table.md", tmp_path / "figures.json"
        arguments = [
            "kernels",
            "decode",
            "loss",
            "--only",
            "× 160",
            "--quick",
            "--backend",
            "reference",
            "--threads",
            "1",
        ]
        assert bench.main([*arguments, "--markdown", str(page), "--json", str(figures)]) == 0
        shown = capsys.readouterr().out
        assert "decode (1, 12, 1, 64) × 160 keys" in shown
        assert "decode: mean ratio" in shown
        assert "1 threads each" in shown
        assert "| kernel | against |" in page.read_text()
        results = json.loads(figures.read_text())["results"]
        assert [r["against"] for r in results] == ["flash", "flash"]
        assert all(len(r["seconds"]["ours"]) == len(r["seconds"]["torch"]) for r in results)

    def test_words_that_no_line_contains_are_one_sentence(self, capsys):
        assert bench.main(["kernels", "--only", "flash gordon"]) == 2
        assert "flash gordon" in capsys.readouterr().err
