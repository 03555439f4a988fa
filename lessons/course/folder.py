"""A teacher's course folder: where everything lies, its settings, and nbgrader told about it.

course.json     language and seed            private/     the teacher's own hidden tests (NAME.py)
release/        what students get            submitted/   STUDENT/NAME/NAME.ipynb: what came back
source/         with solutions and tests     autograded/  graded notebooks
feedback/       one page for each student    gradebook.db scores    log.txt  what nbgrader said
students.txt    if there is one: who is in the class, one name a line
"""

from __future__ import annotations

import json
import logging
import os
import secrets
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lessons.course.sources import LANGUAGES
from minilm.errors import InputError

NEEDED = 'the course needs nbgrader, which is not installed; install it: pip install -e ".[course]"'


@dataclass(frozen=True)
class Folder:
    """A course folder and its settings."""

    path: Path
    language: str
    seed: int

    def submitted(self, name: str) -> list[str]:
        """The students from whom there is anything for an assignment."""
        return sorted(p.parent.name for p in (self.path / "submitted").glob(f"*/{name}") if p.is_dir())

    def submission(self, student: str, name: str) -> Path:
        """The folder of what a student handed in."""
        return self.path / "submitted" / student / name

    def release(self, name: str) -> Path:
        """The notebook that the students got."""
        return self.path / "release" / name / f"{name}.ipynb"

    def roster(self) -> list[str]:
        """The students of students.txt, if there is one."""
        path = self.path / "students.txt"
        lines = path.read_text(encoding="utf-8-sig").splitlines() if path.exists() else []
        return [line.strip() for line in lines if line.strip()]

    def assignments(self) -> list[str]:
        """The assignments that were built here."""
        return sorted(p.parent.name for p in (self.path / "release").glob("*/*.ipynb"))

    def built(self, name: str) -> Path:
        """The release of an assignment. Raises InputError if it was not built here."""
        if not self.release(name).exists():
            raise InputError(
                f"{name} was not built in {self.path}; run: python -m lessons.course build {name} --course {self.path}"
            )
        return self.release(name)


def open_folder(path: Path, language: str | None = None, seed: int | None = None, create: bool = False) -> Folder:
    """The course folder at `path`, made if `create`; given settings replace the stored ones.

    A new folder draws a seed of its own for the hidden tests: that of the repository is public.
    Raises InputError for a folder that is no course folder.
    """
    path = path.resolve()
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; choose a folder for the course")
    file = path / "course.json"
    if not file.exists() and not create:
        raise InputError(
            f"{path} is no course folder (no course.json); make one: python -m lessons.course build --course {path}"
        )
    if (
        not file.exists()
        and path.exists()
        and any(p.name not in ("students.txt", "private", "submitted") for p in path.iterdir())
    ):
        raise InputError(f"{path} holds other files; choose a new or empty folder for the course")
    try:
        known = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
        if not isinstance(known, dict) or not isinstance(known.get("seed", 0), int) or known.get("seed", 0) < 0:
            raise ValueError('expected {"language": ..., "seed": ...}, the seed a whole number of at least 0')
    except ValueError as error:
        raise InputError(f"{file} cannot be read ({error}); correct it, or delete it and build again") from error
    language = language or known.get("language", "en")
    if language not in LANGUAGES:
        raise InputError(f"{file}: language {language!r} is not one of {', '.join(LANGUAGES)}")
    if seed is None:
        seed = known.get("seed", secrets.randbelow(2**31))
    settings = {"language": language, "seed": seed}
    if create and settings != known:
        for name in ("submitted", "private"):
            (path / name).mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    return Folder(path, language, int(seed))


def nbgrader_config(folder: Folder) -> Any:
    """nbgrader's configuration for this folder. Raises InputError if nbgrader is not installed."""
    try:
        import nbgrader  # noqa: F401
        from traitlets.config import Config
    except ImportError as error:
        raise InputError(NEEDED) from error

    from lessons.course.notebooks import CODE_STUB

    warnings.filterwarnings("ignore", module="nbgrader")  # SQLAlchemy's, about nbgrader's own ways
    # nbgrader calls `alembic` by name: what was installed beside this Python comes first
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    config = Config()
    config.CourseDirectory.root = str(folder.path)
    config.CourseDirectory.db_url = f"sqlite:///{folder.path}/gradebook.db"
    config.ClearSolutions.code_stub = {"python": CODE_STUB[folder.language]}
    return config


def quiet(folder: Folder) -> logging.Logger:
    """A logger that writes to log.txt and not to the screen."""
    log = logging.getLogger(f"lessons.course.{folder.path}")
    if not log.handlers:
        handler = logging.FileHandler(folder.path / "log.txt", encoding="utf-8")
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
        # a kernel that is killed leaves nbclient's reader without an answer, which asyncio reports; that belongs here as well
        noises = logging.getLogger("asyncio")
        noises.addHandler(handler)
        noises.propagate = False
    return log


def converter(kind: Any, folder: Folder, config: Any, name: str, student: str | None = None, force: bool = True) -> Any:
    """One of nbgrader's converters for an assignment, logging to log.txt."""
    from nbgrader.coursedir import CourseDirectory

    directory = CourseDirectory(config=config)
    directory.assignment_id = name
    if student is not None:
        directory.student_id = student
    made = kind(coursedir=directory, config=config)
    made.force = force
    made.log = directory.log = quiet(folder)
    return made
