"""What can go wrong through no fault of the program: each kind has its exit status, each error says the mend.

The command line prints these two sentences and nothing else; a Python traceback is kept for our own mistakes.
"""


class ParcoursError(Exception):
    """Something the user can mend.

    >>> print(UsageError("lake.txt is a file.", mend="Give a folder to --output."))
    lake.txt is a file. Give a folder to --output.
    """

    exit_status = 1

    def __init__(self, message: str, mend: str = "") -> None:
        # Both go to Exception, so that the error survives pickling on its way from a worker.
        super().__init__(message, mend)
        self.message = message
        self.mend = mend

    def __str__(self) -> str:
        return f"{self.message} {self.mend}".strip()


class Refused(ParcoursError):
    """The run was made, and the audit or the sums refused it: nothing is published.

    `result` is what came of the run (`pipelines.run.RunResult`) where its tables are kept for a look.
    """

    exit_status = 1
    result: object = None


class UsageError(ParcoursError):
    """An option, a setting, a lake or a query that cannot be used as given."""

    exit_status = 2


class InputError(ParcoursError):
    """Input that could not be read."""

    exit_status = 3
