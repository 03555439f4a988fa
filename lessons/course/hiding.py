"""In feedback, hidden tests stay hidden: students see whether they passed and the sentence that failed, not the code."""

from __future__ import annotations

import re
from typing import Any

from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Unicode

SENTENCES = {
    "en": {"passed": "# Hidden tests: passed.", "failed": "# Hidden tests: this is what was found."},
    "zh": {"passed": "# 隐藏测试：通过。", "failed": "# 隐藏测试：发现了以下问题。"},
}
REGION = re.compile(r"### BEGIN HIDDEN TESTS\n.*?### END HIDDEN TESTS\n?", re.DOTALL)
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


class HideHiddenTests(NbGraderPreprocessor):
    """Takes the code of hidden tests, and the lines of it in tracebacks, out of a graded notebook."""

    language = Unicode("en").tag(config=True)

    def preprocess_cell(self, cell: Any, resources: Any, cell_index: int) -> tuple[Any, Any]:
        name = cell.metadata.get("nbgrader", {}).get("grade_id", "")
        if cell.cell_type != "code" or "### BEGIN HIDDEN TESTS" not in cell.source:
            return cell, resources
        errors = [output for output in cell.outputs if output.output_type == "error"]
        if name.endswith("-hidden"):
            cell.source = SENTENCES[self.language]["failed" if errors else "passed"]
            cell.outputs = errors
            for error in errors:
                sentence = error.evalue if error.ename in ("Wrong", "Stopped") else f"{error.ename}: {error.evalue}"
                error.traceback = [COLOURS.sub("", sentence)]
        else:
            cell.source = REGION.sub("", cell.source)
        return cell, resources
