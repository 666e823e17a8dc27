"""The folder of a report: locked by one evaluation, and replaced as a whole without other files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, TemporaryFile

from cvivit.files import SIBLING_PREFIX
from cvivit.folders import lock_folder, typed_write_errors
from training.errors import OutputMismatchError
from training.evaluate.report.contents import is_report

FILES = (
    "report.json",
    "report.md",
    "clips.csv",
    "codebook.png",
    "frames.png",
    "rate.png",
    "rates.csv",
    "contact_sheet.png",
    "comparison.gif",
    "comparison.webp",
)


def refuse_foreign(output: Path) -> None:
    """Raise OutputMismatchError if files that no evaluation wrote would be replaced or deleted."""
    there = [name for name in FILES if (output / name).exists()]
    if there and not is_report(output / "report.json"):
        raise OutputMismatchError(
            f"{output / there[0]} belongs to no report, and would be lost: choose another folder"
        )


@contextmanager
def holding(output: Path) -> Iterator[None]:
    """Make the folder and lock it.

    Raises:
        OutputMismatchError: another evaluation has the lock.
        DataWriteError: it cannot be made or written. This is found out before hours of measuring.
    """
    with ExitStack() as held:
        with typed_write_errors(output):
            held.enter_context(lock_folder(output))
            for unfinished in output.glob(f"{SIBLING_PREFIX}*"):  # A killed evaluation left it.
                rmtree(unfinished, ignore_errors=True)
            TemporaryFile(dir=output).close()
        yield


@contextmanager
def replacing_report(output: Path) -> Iterator[Path]:
    """Yield a folder for FILES. When the block ends well, they replace those of the report before.

    Files of the report before that the new one lacks are deleted.

    Raises:
        DataWriteError: something cannot be written. A report that was there before is unchanged.
    """
    with typed_write_errors(output), TemporaryDirectory(prefix=SIBLING_PREFIX, dir=output) as folder:
        yield Path(folder)
        for name in FILES:
            if Path(folder, name).exists():
                Path(folder, name).replace(output / name)
            else:  # A plot or picture that the new report lacks would be that of another report.
                (output / name).unlink(missing_ok=True)
