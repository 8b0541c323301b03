"""Who a track is: by all of its votes, once, and never to and fro."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from runtime.dictionary import SpecificDictionary
from runtime.people.matching import Person
from runtime.video.tracks.seen import Seen, SeenFace, Tracked
from runtime.video.tracks.tracking import begun, voted
from runtime.video.tracks.tracks import Tracks
from runtime.video.tracks.votes import Ballot, elect
from tests.runtime.people.making import known_person
from tests.runtime.video.tracks.making import Actor, Clip, steadily, still

NAMES = ["alice", "bob"]
ALICE, BOB = np.eye(128)[0], np.eye(128)[1]
"""Vectors of the two, whose distance is 1.41."""


def between(share: float) -> NDArray[np.float64]:
    """The vector that lies on the way from Alice to Bob."""
    return np.asarray(ALICE + share * (BOB - ALICE))


def ballot(*distances: float, person: int | None = None, votes: int = 1) -> Ballot:
    squares = tuple(votes * distance**2 for distance in distances)
    return Ballot(votes, 0.0, float(votes), squares, np.zeros(128), person)


def names(ballots: list[Ballot], threshold: float = 0.57) -> list[str | None]:
    return [
        None if chosen.person is None else NAMES[chosen.person]
        for chosen, _ in elect(ballots, NAMES, threshold)
    ]


def test_the_distance_is_that_of_all_votes() -> None:
    """The root of the mean square to all references, over all votes."""
    noise = np.random.default_rng(1)
    people = [Person.of(name, noise.normal(size=(3, 128))) for name in NAMES]
    vectors = noise.normal(size=(4, 128)).astype(np.float32)
    votes = Ballot()
    for index, vector in enumerate(vectors):
        votes = votes.with_vote(seen(vector), index, people)
    expected = [np.sqrt((each.distances(vectors) ** 2).mean()) for each in people]
    assert votes.distances() == pytest.approx(expected, abs=1e-9)
    assert votes.mean == pytest.approx(vectors.mean(axis=0), abs=1e-6)
    assert (votes.votes, votes.time, votes.weight) == (4, 3, 4)


def test_blurred_votes_count_less() -> None:
    people = known()
    sharp, blurred = seen(ALICE, blur=28), seen(BOB, blur=35)
    votes = Ballot().with_vote(sharp, 0, people).with_vote(blurred, 1, people)
    assert votes.weight == pytest.approx(1.1)
    assert votes.distances() == pytest.approx([np.sqrt(0.2 / 1.1), np.sqrt(2 / 1.1)])
    assert Ballot().with_vote(blurred, 0, people).distances()[1] == pytest.approx(0, abs=1e-6)
    assert Ballot().with_vote(seen(None), 0, people).votes == 0


def test_the_rule_is_that_of_a_photo() -> None:
    assert names([ballot(0.4, 0.9), ballot(0.9, 0.5), ballot(0.9, 0.9)]) == ["alice", "bob", None]
    assert names([ballot(0.45, 0.9), ballot(0.4, 0.9)]) == [None, "alice"]
    assert names([ballot(0.4, 0.44)]) == [None]
    assert names([ballot(0.6, 0.9)]) == [None]
    assert names([ballot(0.6, 0.9)], threshold=0.6) == ["alice"]
    assert names([Ballot(), ballot(0.4, 0.9)]) == [None, "alice"]
    assert elect([], NAMES, 0.57) == []
    assert [match for _, match in elect([Ballot()], NAMES, 0.57)] == [None]
    assert [match for _, match in elect([Ballot()], [], 0.57)] == [None]


def test_who_was_chosen_stays_where_others_are_hardly_better() -> None:
    assert names([ballot(0.61, 0.9, person=0)]) == ["alice"]
    assert names([ballot(0.63, 0.9, person=0)]) == [None]
    assert names([ballot(0.5, 0.51, person=0)]) == ["alice"]
    assert names([ballot(0.5, 0.49, person=0)]) == [None]
    assert names([ballot(0.5, 0.9, person=0), ballot(0.46, 0.9)]) == ["alice", None]
    assert names([ballot(0.5, 0.9, person=0), ballot(0.44, 0.9)]) == [None, "alice"]


@pytest.mark.parametrize(("known", "enough"), [(200, 8), (5, 5)])
def test_few_votes_do_not_take_a_person(known: int, enough: int) -> None:
    """Neither where they say that they are her, nor where they cannot choose between two."""
    holder = ballot(0.5, 0.9, person=0, votes=known)
    for votes in (1, enough - 1):
        assert names([holder, ballot(0.44, 0.9, votes=votes)]) == ["alice", None]
        assert names([ballot(0.44, 0.9, votes=votes), holder]) == [None, "alice"]
        assert names([holder, ballot(0.44, 0.46, votes=votes)]) == ["alice", None]
    assert names([holder, ballot(0.44, 0.9, votes=enough)]) == [None, "alice"]
    assert names([holder, ballot(0.44, 0.46, votes=enough)]) == [None, None]
    # it may be somebody else, or her whom a track is not after all
    assert names([holder, ballot(0.9, 0.44)]) == ["alice", "bob"]
    gone = ballot(0.7, 0.9, person=0, votes=known)
    assert names([gone, ballot(0.44, 0.9)]) == [None, "alice"]
    # who has enough votes takes her, and not who would have been the nearest
    taker, newcomer = ballot(0.44, 0.9, votes=enough), ballot(0.3, 0.9)
    assert names([holder, taker, newcomer]) == [None, "alice", None]


def test_who_lost_a_person_to_another_track_gets_her_back_without_it() -> None:
    holder, taker = ballot(0.5, 0.9, person=0, votes=200), ballot(0.44, 0.9, votes=8)
    (lost, _), (won, match) = elect([holder, taker], NAMES, 0.57)
    assert (lost.person, lost.left, won.person) == (None, (), 0)
    assert match is not None
    assert match.distance == pytest.approx(0.44)
    assert names([lost, won]) == [None, "alice"]
    assert names([lost]) == ["alice"]


def test_of_two_who_were_one_person_the_one_of_more_votes_stays() -> None:
    few, many = ballot(0.4, 0.9, person=0, votes=3), ballot(0.5, 0.9, person=0, votes=90)
    (lost, _), (kept, _) = elect([few, many], NAMES, 0.57)
    assert (lost.person, lost.left, kept.person) == (None, (), 0)


def test_who_lost_a_track_does_not_get_it_back() -> None:
    ((lost, match),) = elect([ballot(0.7, 0.9, person=0)], NAMES, 0.57)
    assert (lost.person, lost.left) == (None, (0,))
    assert match is not None
    assert (match.name, match.runner_up, match.guess) == (None, "bob", None)
    assert match.distance == pytest.approx(0.7)
    again = replace(lost, squares=(0.2**2, 0.9**2))
    ((kept, match),) = elect([again], NAMES, 0.57)
    assert (kept.person, kept.left) == (None, (0,))
    assert match is not None
    assert (match.name, match.guess) == (None, "alice")


def test_the_distance_that_is_told_is_the_true_one() -> None:
    ((_, match),) = elect([ballot(0.5, 0.9, person=0)], NAMES, 0.57)
    assert match is not None
    assert (match.name, match.runner_up, match.guess) == ("alice", "bob", None)
    assert (match.distance, match.runner_up_distance) == pytest.approx((0.5, 0.9))


def seen(vector: NDArray[np.floating] | None, blur: float = 0.0) -> SeenFace:
    given = None if vector is None else vector.astype(np.float32)
    return SeenFace(np.array([0.0, 0, 1, 1]), 0.9, np.zeros((68, 2)), given, blur)


def known() -> list[Person]:
    return [Person.of(each.name, each.vectors) for each in people()]


def people() -> list[SpecificDictionary]:
    return [known_person(0, "alice"), known_person(1, "bob")]


def who(results: list[Tracked]) -> list[set[tuple[int, str | None]]]:
    return [{(face.track, face.face.name) for face in result.faces} for result in results]


def played(clip: Clip, vector: Callable[[int, SeenFace], NDArray[np.float64]]) -> list[Tracked]:
    """The clip, each frame looked at, whose faces get vectors by their frames and places."""
    tracks, results = Tracks(people()), list[Tracked]()
    for index, time in enumerate(clip.times):
        clip.asks(tracks, index)
        faces = tuple(
            replace(face, vector=vector(index, face).astype(np.float32))
            for face in clip.faces(index)
        )
        results += tracks.push(Seen(index, time, faces, clip.thumbnail(index)))
    return results + tracks.finish()


def test_a_track_has_its_person_from_its_first_frame() -> None:
    """Although its first looks show somebody who is too far from all people to be one."""
    clip = Clip((Actor(still()),), steadily(50))
    results = played(clip, lambda index, _: between(0.44) if index < 4 else ALICE)
    assert who(results) == [{(0, "alice")}] * 50
    assert all(face.person == 0 for result in results for face in result.faces)
    face = results[-1].faces[0].face
    assert (face.runner_up, face.threshold, face.guess) == ("bob", 0.57, None)
    assert face.distance == pytest.approx(np.sqrt(4 * 2 * 0.44**2 / 50), abs=1e-6)


@pytest.mark.parametrize("every", [3, 5])
def test_single_frames_swap_nobody(every: int) -> None:
    """In some frames each of two looks like the other, so that a photo of them would be wrong."""

    def vector(index: int, face: SeenFace) -> NDArray[np.float64]:
        share = 0.6 if index % every == 1 else 0.1
        return between(share if face.box[0] < 400 else 1 - share)

    alone = elect(
        [Ballot().with_vote(seen(between(share)), 0, known()) for share in (0.6, 0.4)], NAMES, 0.57
    )
    assert [ballot.person for ballot, _ in alone] == [1, 0]
    clip = Clip((Actor(still(300)), Actor(still(700))), steadily(100))
    results = played(clip, vector)
    for result in results:
        left, right = sorted(result.faces, key=lambda face: float(face.face.box[0]))
        assert (left.face.name, right.face.name) == ("alice", "bob")
        assert (left.person, right.person) == (0, 1)


def test_a_person_changes_at_most_once_for_each_of_them() -> None:
    """However the vectors change: no track comes back to a person whom it left."""
    clip = Clip((Actor(still()),), steadily(400))
    results = played(clip, lambda index, _: between(0.7 if index % 150 >= 20 else 0.3))
    assert {face.track for result in results for face in result.faces} == {0}
    names = [result.faces[0].face.name for result in results]
    changes = [name for name, before in zip(names[1:], names, strict=False) if name != before]
    assert names[0] == "alice"
    assert sum(name == "alice" for name in changes) == 0
    assert sum(name == "bob" for name in changes) == 1


def test_nobody_is_two_faces() -> None:
    """Alice is the nearer one, although the other was there before; it ends in time."""
    late = Actor(lambda time: (700, 300) if time >= 1 else None)
    clip = Clip((Actor(still(300)), late), steadily(75))
    results = played(clip, lambda _, face: between(0.3 if face.box[0] < 400 else 0.05))
    assert who(results)[0] == {(0, "alice")}
    assert who(results)[-1] == {(0, None), (1, "alice")}
    for result in results:
        assert [face.face.name for face in result.faces].count("alice") == 1


def test_who_comes_back_is_the_same_person() -> None:
    """After three seconds in another place: another track, with the name from its beginning."""

    def path(time: float) -> tuple[float, float] | None:
        return (300, 300) if time < 1 else (800, 200) if time >= 4 else None

    clip = Clip((Actor(path, vector=ALICE, spread=0.4),), steadily(150), noise=1.0)
    results = clip.play(Tracks(people()))
    assert {each for shown in who(results) for each in shown} == {(0, "alice"), (1, "alice")}
    assert who(results)[102:] == [{(1, "alice")}] * 48


def near(distance: float) -> NDArray[np.float64]:
    """The vector of somebody who is so far from Alice."""
    alike = 1 - distance**2 / 2
    return np.asarray(alike * ALICE + np.sqrt(1 - alike**2) * np.eye(128)[2])


def replaced(change: float, again: float, seconds: float, distance: float = 0.9) -> Clip:
    """Alice up to a moment, and from another one on somebody else at the same place."""
    first = Actor(lambda time: (300, 300) if time < change else None, vector=ALICE, spread=0.3)
    second = Actor(
        lambda time: (300, 300) if time >= again else None, vector=near(distance), spread=0.3
    )
    return Clip((first, second), steadily(round(25 * seconds)), noise=1.0)


def with_carol() -> list[SpecificDictionary]:
    """Alice, and somebody at a distance of 0.9."""
    vectors = near(0.9)[None].astype(np.float32)
    return [known_person(0, "alice"), replace(known_person(1, "carol"), vectors=vectors)]


def test_another_face_at_the_same_place_is_another_track() -> None:
    """As after a dissolve: it is noticed in the next second, and Alice's face is not given away."""
    results = replaced(5, 5, 8).play(Tracks(with_carol()))
    shown = who(results)
    first = shown.index({(1, "carol")})
    assert 125 <= first <= 125 + 25 + 3
    assert shown[:first].count({(0, "alice")}) >= first - 3
    assert shown[first:] == [{(1, "carol")}] * (200 - first)
    assert results[first].faces[0].opacity == pytest.approx(1 / 6)
    assert results[-1].faces[0].opacity == 1


@pytest.mark.parametrize("others", [with_carol, lambda: with_carol()[:1]])
def test_who_takes_a_place_is_another_track_from_the_first_look_on(
    others: Callable[[], list[SpecificDictionary]],
) -> None:
    """The place was free for a second, for which a track waits; the newcomer may be unknown."""
    clip, name = replaced(2, 3, 5), "carol" if len(others()) > 1 else None
    results = clip.play(Tracks(others()))
    assert {each for shown in who(results) for each in shown} == {(0, "alice"), (1, name)}
    assert all(face.track == (result.index >= 75) for result in results for face in result.faces)
    assert who(results)[77:] == [{(1, name)}] * 48
    face = results[-1].faces[0].face
    assert face.distance == pytest.approx(0.3 if name else 0.95, abs=0.02)


def test_without_people_a_place_is_a_track() -> None:
    results = replaced(2, 3, 5).play(Tracks())
    assert {each for shown in who(results) for each in shown} == {(0, None)}


@pytest.mark.parametrize("bad", [[30], [30, 31], [30, 31, 33, 34], [28, 30, 32, 34, 36]])
def test_bad_looks_begin_no_track(bad: list[int]) -> None:
    """Unless there are three in a row; they count like all others, once it is known."""
    clip = Clip((Actor(still()),), steadily(60))
    results = played(clip, lambda index, _: BOB if index in bad else ALICE)
    assert who(results) == [{(0, "alice")}] * 60
    distance = results[-1].faces[0].face.distance
    assert distance == pytest.approx(np.sqrt(2 * len(bad) / 60), abs=1e-6)


def test_bad_looks_that_are_not_alike_begin_no_track() -> None:
    clip = Clip((Actor(still()),), steadily(60))
    others = {30 + index: np.eye(128)[10 + index] for index in range(6)}
    results = played(clip, lambda index, _: others.get(index, ALICE))
    assert who(results) == [{(0, "alice")}] * 60


def test_blurred_looks_begin_a_track_only_when_they_are_many() -> None:
    """Each counts a tenth of the sharp ones that they are against."""
    track = begun(0, 0, 0.0, seen(ALICE))
    for _ in range(4):
        track = voted(track, track, seen(ALICE, blur=30), known())
    proofs = []
    for _ in range(30):
        track = voted(track, track, seen(BOB, blur=35), known())
        proofs.append(track.proof is not None)
        assert track.wants(0.0)
    assert proofs.index(True) in (19, 20)
    assert track.ballot.votes == 4


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("turns", [False, True])
def test_people_who_cross_keep_their_names(seed: int, turns: bool) -> None:
    """Also where they meet and turn back, so that only the vectors tell."""

    def away(time: float) -> float:
        return 15 + 250 * abs(time - 1) if turns else 250 * (time - 1)

    first = Actor(lambda time: (640 - away(time), 300), vector=ALICE, spread=0.4)
    second = Actor(lambda time: (640 + away(time), 305), vector=BOB, spread=0.4)
    clip = Clip((first, second), steadily(50), noise=1.0, seed=seed)
    results = clip.play(Tracks(people()))
    assert len({face.track for result in results for face in result.faces}) == 2
    for result in results:
        for face in result.faces:
            ways = [actor.path(clip.times[result.index]) or (0, 0) for actor in (first, second)]
            x = face.face.box[0] + 75
            off = [abs(x - way[0]) for way in ways]
            assert off.index(min(off)) == NAMES.index(face.face.name or "")
            assert min(off) < 12


def test_few_looks_ask_for_vectors() -> None:
    """Eight at first and then one a second of a face that is alone; all where faces are close."""
    alone = Clip((Actor(still(), vector=ALICE),), steadily(150))
    asked = wishes(alone)
    assert asked[:8] == [0, 3, 6, 9, 12, 15, 18, 21]
    assert asked[8:] == [48, 75, 102, 129]
    close = Clip((Actor(still(300), vector=ALICE), Actor(still(385), vector=BOB)), steadily(60))
    assert len(wishes(close)) == 2 * 21
    assert Tracks().wants_vector(Seen(0, 0.0, alone.faces(0), alone.thumbnail(0))) == ()


def wishes(clip: Clip) -> list[int]:
    """The frames for whose faces vectors are wanted, once for each face."""
    tracks, found = Tracks(people()), list[int]()
    for index in range(len(clip.times)):
        faces = clip.faces(index) if clip.asks(tracks, index) else None
        found += [index] * len(clip.push(tracks, index, faces)[0])
    return found
