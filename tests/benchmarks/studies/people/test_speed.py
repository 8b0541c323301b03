"""What recognising costs: that it is measured, and some milliseconds of CPU time."""

from benchmarks.studies.people.speed import MOST_S, PEOPLE, _nobody, of_a_face
from runtime.people.matching import GUESS, Person, who
from runtime.people.recognition import Recognizer
from runtime.samples.faces import samples


def test_a_face_takes_milliseconds() -> None:
    """Five times the bound of the study: tests run beside others."""
    face = of_a_face()
    assert 0.0005 < face.recognising < 5 * MOST_S
    assert 0.0005 < face.likeness < 5 * MOST_S


def test_nobody_is_near_a_face() -> None:
    vectors = Recognizer(1).describe([each.rgb for each in samples()])
    people = [Person.of(str(number), _nobody(number)) for number in range(PEOPLE)]
    for match in who(vectors, people):
        assert match.name is None
        assert match.distance is not None
        assert match.distance > GUESS
