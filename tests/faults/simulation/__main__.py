"""``python -m tests.faults.simulation``: see `run`."""

import sys

from tests.faults.simulation.run import main

sys.exit(main())
