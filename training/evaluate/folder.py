"""The folder of a report: held by one evaluation, nobody else's files, replaced as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, TemporaryFile

from cvivit.files import SIBLING_PREFIX
from training.errors import OutputMismatchError
from training.evaluate.report import is_report
from training.folders import lock_folder, typed_write_errors

FILES = (
    "report.json",
    "report.md",
    "clips.csv",
    "codebook.png",
    "rate.png",
    "contact_sheet.png",
    "comparison.gif",
    "comparison.webp",
)


def refuse_foreign(output: Path) -> None:
    """Raise OutputMismatchError where files would be replaced or deleted that no evaluation wrote."""
    there = [name for name in FILES if (output / name).exists()]
    if there and not is_report(output / "report.json"):
        raise OutputMismatchError(
            f"{output / there[0]} is there, of no report, and would be lost: choose another folder"
        )


@contextmanager
def holding(output: Path) -> Iterator[None]:
    """Make the folder and hold it.

    Raises:
        OutputMismatchError: another evaluation holds it.
        DataWriteError: it cannot be made or written, which is known now and not after hours of measuring.
    """
    with ExitStack() as held:
        with typed_write_errors(output):
            held.enter_context(lock_folder(output))
            for unfinished in output.glob(f"{SIBLING_PREFIX}*"):  # which an evaluation that was killed left
                rmtree(unfinished, ignore_errors=True)
            TemporaryFile(dir=output).close()
        yield


@contextmanager
def replacing_report(output: Path) -> Iterator[Path]:
    """Give a folder for FILES, which take their places when the block ends well; those it lacks are deleted.

    Raises:
        DataWriteError: something cannot be written. A report that was there still is, whole.
    """
    with typed_write_errors(output), TemporaryDirectory(prefix=SIBLING_PREFIX, dir=output) as folder:
        yield Path(folder)
        for name in FILES:
            if Path(folder, name).exists():
                Path(folder, name).replace(output / name)
            else:  # a plot or a picture that this report has not would be another's
                (output / name).unlink(missing_ok=True)
