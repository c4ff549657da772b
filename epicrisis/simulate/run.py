"""The whole simulation, in the order in which its messages are sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from epicrisis.simulate import pathways
from epicrisis.simulate.case import Case
from epicrisis.simulate.chance import Chance
from epicrisis.simulate.directory import directory
from epicrisis.simulate.letter import Message
from epicrisis.simulate.mistakes import mistake
from epicrisis.simulate.world import World, world

BEGIN = datetime(2024, 6, 1, 6, tzinfo=UTC)
DAYS = 500  # first visits are within them; what follows takes at most some months: all is over by 2026-06-01
WAVE = 500  # patients at a time: their messages are sorted in memory


def messages(patients: int, seed: int, *, mistakes: bool = False) -> Iterator[Message]:
    """Every message of the cluster's life: each site's directory first, then so many patients, mixed in time.

    The same arguments give the same bytes. Patients come in waves of 500: within a wave messages are in order of
    sending; a patient's own messages always are. With ``mistakes`` one patient in ten also brings a message that has to
    be refused (`Message.expect_refused`); all other messages but those it rests on stay the same.
    """
    cluster = world(seed)
    yield from directory(cluster, seed, BEGIN - timedelta(days=1))
    for first in range(1, patients + 1, WAVE):
        wave: list[Message] = []
        for number in range(first, min(first + WAVE, patients + 1)):
            case = live(cluster, seed, number)
            if mistakes and number % 10 == 3:
                case.chance = Chance(f"{seed}/mistake/{number}")
                wave.append(mistake(case))
            wave.extend(case.messages)
        wave.sort(key=lambda message: message.sent)  # stable: what a case sends at once stays in its order
        yield from wave


def live(cluster: World, seed: int, number: int) -> Case:
    """One patient's life in the cluster."""
    chance = Chance(f"{seed}/patient/{number}")
    start = chance.moment(BEGIN, DAYS)
    way = chance.random()
    if way < 0.1:
        case = _case(chance, cluster, number, "sports", start)
        pathways.injury(case)
        return case
    if way < 0.2:
        case = _case(chance, cluster, number, "urology", start)
        pathways.check_up(case)
        case.wait(24, 400)
        if chance.odds(0.4):
            pathways.false_alarm(case, "urological")
        else:
            pathways.cancer(case, "urological")
        return case
    case = _case(chance, cluster, number, "outpatient", start, child=0.45 < way < 0.5)
    pathways.check_up(case)
    for _ in range(chance.randrange(2)):
        case.wait(24 * 5, 24 * 40)
        pathways.acute(case)
    case.wait(24, 24 * 20)
    if way < 0.45:
        pathways.cancer(case, "cancer")
    elif way < 0.5:
        pathways.cancer(case, "paediatric")
    elif way < 0.6:
        pathways.false_alarm(case, "cancer")
    else:
        pathways.check_up(case, register=False)
        if chance.odds(0.02):
            case.wait(24, 24 * 50)
            case.die()
    return case


def _case(chance: Chance, cluster: World, number: int, kind: str, start: datetime, *, child: bool = False) -> Case:
    age = (2, 17) if child else (19, 90)
    return Case(chance, cluster, number, chance.one(cluster.of(kind)), start, age)
