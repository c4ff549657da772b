"""What every role needs, imported and made once in the fork server: a role is then there within milliseconds.

Nothing here may start a thread, open a connection, or draw a random number without a seed.
"""

from __future__ import annotations

import gc
import importlib

from epicrisis import importing, relay, serve, worker  # noqa: F401
from epicrisis.assembly import codec
from epicrisis.cli.app import COMMAND_MODULES
from epicrisis.fhir.gate import Gate
from epicrisis.found import projections, services
from epicrisis.simulate import messages
from tests.faults.processes import roles, sending  # noqa: F401

for module in COMMAND_MODULES:
    importlib.import_module(module)
codec()
services()
projections()
gate = Gate()
for message in messages(patients=8, seed=1):
    gate.check(message.bundle)
gc.freeze()
