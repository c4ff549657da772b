"""A cluster whose charts can be read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.json import format as indented

from tests.integration.fhir_reading.clinics import HERE, THERE, Site, encounter, sent, weight
from tests.kernel_support import Pipeline, condition, observation, own_namespace, patient


@pytest.fixture(scope="session")
def site(servers: dict[str, Any]) -> Iterator[Site]:
    with own_namespace(servers) as cluster, Pipeline(cluster) as running:
        organization = {"resourceType": "Organization", "id": "org", "name": "Charité Mitte", "active": True}
        mueller = patient(
            number="123",
            family="von Müller",
            gender="female",
            name=[{"use": "official", "family": "von Müller", "given": ["Ada"]}, {"use": "maiden", "family": "Wolf"}],
        )
        some = [weight("o1", "1.10", "2026-01-10T08:30:00Z"), weight("o2", "70.0", "2026-02")]
        running.send(sent(organization, mueller, encounter(), condition(), *some), clinic=HERE)
        running.send(indented(sent(weight("o2", "71.50", "2026-02")), indent=2), clinic=HERE)
        running.send(sent(patient(family="Dort", number="123"), condition(), observation()), clinic=THERE)
        running.send(sent(patient("p2", family="Erased"), observation("x1", to="Patient/p2")), clinic=HERE)
        running.send(sent(patient("p3", family="Mistaken"), condition("c3", to="Patient/p3")), clinic=HERE)
        running.send(sent(delete=("Condition/c3",)), clinic=HERE)
        running.send(sent(observation("x3", to="Patient/p3")), clinic=HERE)
        running.send(sent(observation("x3", to="Patient/p3") | {"status": "entered-in-error"}), clinic=HERE)
        running.wait()
        yield Site(cluster, running)
