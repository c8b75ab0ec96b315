"""twistd whose lines are counted: run in its place where coverage is measured.

In order, twistd ends itself by the signal that asked it to, so that no exit function runs;
coverage writes its data in one. Here they run before.
"""

import atexit
import sys

sys.path.pop(0)  # this script's folder, which nobody asked for

from twisted.application import app
from twisted.scripts import twistd

end = app._exitWithSignal


def exit_with_signal(signal: int) -> None:
    """Let the exit functions run, then end as twistd does."""
    atexit._run_exitfuncs()
    end(signal)


app._exitWithSignal = exit_with_signal
twistd.run()
