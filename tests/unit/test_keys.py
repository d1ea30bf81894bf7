"""API keys as such: made, read, judged, rotated. And how often each may ask."""

import hashlib
import re
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hasty import keys
from hasty.api.limits import BURST_S, Limits
from hasty.keys import MOST_SECRETS, ApiKey, Presented, Scope, Standing, judge, mint, parse, rotate
from tests.unit.examples import NOW, after, repeatable

DAY = timedelta(days=1)
ALL = tuple(Scope)


def made(*scopes: Scope, **changes) -> tuple[ApiKey, str]:
    return mint("ci", scopes or (Scope.READ,), NOW, **changes)


def standing(text: str, key: ApiKey | None, now=NOW) -> Standing:
    presented = parse(text)
    assert presented is not None
    return judge(presented, key, now)


def secret_of(text: str) -> str:
    return text.rpartition("_")[2]


# Made -----------------------------------------------------------------------------------------


def test_a_key_is_a_prefix_its_id_and_a_secret_of_more_than_160_bits():
    key, text = made()
    found = re.fullmatch(r"hasty_([a-z0-9]{10})_([A-Za-z0-9]{32})", text)
    assert found and found[1] == key.id
    assert 62**32 > 2**160


def test_no_two_are_alike():
    texts = {made()[1] for _ in range(200)}
    assert len({text.split("_")[1] for text in texts}) == len({secret_of(text) for text in texts}) == 200


def test_every_character_of_a_secret_is_drawn_from_all(monkeypatch):
    """By the generator that is meant for secrets, not by the one for games."""
    drawn = []
    monkeypatch.setattr(keys.secrets, "choice", lambda alphabet: drawn.append(alphabet) or alphabet[0])
    _, text = made()
    assert [len(alphabet) for alphabet in drawn] == [36] * 10 + [62] * 32
    assert text == f"hasty_{'a' * 10}_{'a' * 32}"


def test_what_is_kept_is_the_hash_of_the_secret_and_nothing_shows_either():
    key, text = made(lifetime=DAY, rate=5.0)
    digest = hashlib.sha256(secret_of(text).encode()).hexdigest()
    assert key.credentials[0].digest == digest
    assert parse(text) == Presented(id=key.id, digest=digest)
    for shown in (repr(key), str(key), repr(key.credentials), repr(parse(text)), f"{parse(text)}"):
        assert secret_of(text) not in shown and digest not in shown


# Read -----------------------------------------------------------------------------------------


@repeatable
@given(st.text() | st.from_regex(r"hasty_[a-z0-9]*_[A-Za-z0-9]*", fullmatch=False))
@example("hasty_" + "a" * 10 + "_" + "b" * 32 + "\n")
@example("hasty_" + "a" * 10 + "_" + "b" * 33)
@example("hasty_" + "a" * 9 + "ä_" + "b" * 32)
@example("hasty_" + "a" * 10 + "_" + "\N{ARABIC-INDIC DIGIT ONE}" * 32)
@example("HASTY_" + "a" * 10 + "_" + "b" * 32)
def test_whatever_is_no_key_is_none_and_nothing_is_raised(text):
    presented = parse(text)
    assert (presented is not None) == bool(re.fullmatch(r"hasty_[a-z0-9]{10}_[A-Za-z0-9]{32}", text))


def test_a_text_of_a_megabyte_is_no_key():
    assert parse("hasty_" + "a" * 1_000_000) is None


@repeatable
@given(st.lists(st.text(st.characters(max_codepoint=255)), max_size=3))
def test_whatever_headers_come_nothing_is_raised(values):
    assert keys.parse_authorization(values) is None


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER ", "Bearer   "])
def test_the_scheme_is_written_as_one_likes(scheme):
    _, text = made()
    assert keys.parse_authorization([scheme + text]) == parse(text)


@pytest.mark.parametrize(
    "write",
    [
        lambda text: [],
        lambda text: [text],
        lambda text: ["Basic " + text],
        lambda text: ["Bearer" + text],
        lambda text: ["Bearer " + text + ", Bearer " + text],
        # Of two, one might be looked at here and the other by a proxy.
        lambda text: ["Bearer " + text, "Bearer " + text],
    ],
)
def test_anything_but_one_key_is_none(write):
    assert keys.parse_authorization(write(made()[1])) is None


# Judged ---------------------------------------------------------------------------------------


def test_who_has_the_secret_is_known_and_nobody_else():
    key, text = made()
    other, others = made()
    assert standing(text, key) == Standing.VALID
    assert standing(text, None) == Standing.UNKNOWN
    assert standing(others, replace(key, id=other.id)) == Standing.UNKNOWN


def test_one_wrong_character_is_enough():
    key, text = made()
    for place in range(len(text) - 32, len(text)):
        wrong = text[:place] + ("a" if text[place] != "a" else "b") + text[place + 1 :]
        assert standing(wrong, key) == Standing.UNKNOWN


def test_a_key_is_good_until_it_expires_and_not_at_that_moment():
    key, text = made(lifetime=DAY)
    assert key.expires_at == NOW + DAY
    assert standing(text, key, NOW + DAY - timedelta(milliseconds=1)) == Standing.VALID
    assert standing(text, key, NOW + DAY) == Standing.EXPIRED
    assert key.live(NOW) and not key.live(NOW + DAY)


def test_only_who_has_the_secret_is_told_that_it_was_revoked_or_is_over():
    key, text = made(lifetime=DAY)
    revoked = replace(key, revoked_at=NOW)
    wrong = made()[1]
    assert not revoked.live(NOW)
    assert standing(text, revoked) == standing(text, revoked, NOW + DAY) == Standing.REVOKED
    assert standing(wrong, revoked) == standing(wrong, key, NOW + DAY) == Standing.UNKNOWN


@pytest.mark.parametrize("rotations", range(MOST_SECRETS))
def test_the_work_is_the_same_whether_a_key_is_known_or_not_and_whichever_secret_it_is(
    monkeypatch, rotations
):
    key, first = made()
    last = first
    for _ in range(rotations):
        key, last = rotate(key, NOW, overlap=DAY)
    compared = []
    real = keys.hmac.compare_digest
    monkeypatch.setattr(keys.hmac, "compare_digest", lambda a, b: compared.append((a, b)) or real(a, b))
    for text, found in ((first, key), (last, key), (made()[1], key), (first, None)):
        compared.clear()
        standing(text, found)
        assert len(compared) == MOST_SECRETS
        # Texts of one length: the time of a comparison says nothing.
        assert {len(part) for pair in compared for part in pair} == {64}


# Scopes ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("has", "may"),
    [
        ((Scope.READ,), {Scope.READ}),
        ((Scope.WRITE,), {Scope.READ, Scope.WRITE}),
        ((Scope.READ, Scope.WRITE), {Scope.READ, Scope.WRITE}),
        ((Scope.ADMIN,), set(Scope)),
        ((Scope.READ, Scope.ADMIN), set(Scope)),
    ],
)
def test_admin_includes_write_and_write_includes_read(has, may):
    key, _ = made(*has)
    assert {scope for scope in Scope if key.allows(scope)} == may


def test_a_key_without_scopes_may_nothing():
    assert not any(replace(made()[0], scopes=frozenset()).allows(scope) for scope in Scope)


# Rotated --------------------------------------------------------------------------------------


def test_the_old_secret_is_good_until_the_overlap_ends_and_the_id_stays():
    key, old = made()
    rotated, new = rotate(key, after(10), overlap=DAY)
    assert rotated.id == key.id == parse(new).id
    assert replace(rotated, credentials=key.credentials) == key
    assert rotated.expires_at is None
    for moment, expected in (
        (after(10), Standing.VALID),
        (after(10) + DAY - timedelta(milliseconds=1), Standing.VALID),
        (after(10) + DAY, Standing.EXPIRED),
    ):
        assert standing(old, rotated, moment) == expected
        assert standing(new, rotated, moment) == Standing.VALID


def test_without_an_overlap_the_old_secret_is_over_at_once():
    key, old = made()
    rotated, new = rotate(key, NOW, overlap=timedelta(0))
    assert len(rotated.credentials) == 1
    assert standing(old, rotated) == Standing.UNKNOWN
    assert standing(new, rotated) == Standing.VALID


def test_rotating_again_ends_nothing_early():
    """Who did not get the new secret rotates once more; the first one is in use all the while."""
    key, first = made()
    key, second = rotate(key, NOW, overlap=DAY)
    key, third = rotate(key, after(60), overlap=DAY)
    now = NOW + DAY - timedelta(seconds=1)
    assert [standing(text, key, now) for text in (first, second, third)] == [Standing.VALID] * 3
    assert standing(first, key, NOW + DAY) == Standing.EXPIRED
    assert standing(second, key, NOW + DAY) == Standing.VALID


def test_an_overlap_makes_no_secret_last_longer_than_it_was_to():
    key, old = made(lifetime=timedelta(hours=1))
    rotated, new = rotate(key, after(0), overlap=DAY)
    assert standing(old, rotated, after(3_599)) == Standing.VALID
    assert standing(old, rotated, after(3_600)) == Standing.EXPIRED
    assert standing(new, rotated, after(3_599)) == Standing.VALID


def test_a_new_secret_lasts_as_long_as_the_one_before_was_made_for_unless_it_is_said():
    key, _ = made(lifetime=DAY)
    again, _ = rotate(key, after(60), overlap=timedelta(0))
    assert again.expires_at == after(60) + DAY
    longer, _ = rotate(again, after(90), overlap=timedelta(0), lifetime=3 * DAY)
    assert longer.expires_at == after(90) + 3 * DAY
    assert rotate(longer, after(120), overlap=timedelta(0))[0].expires_at == after(120) + 3 * DAY


def test_no_secret_lasts_longer_than_its_key():
    """Else somebody could come in with a key that is shown as over, and that nobody can revoke."""
    key, old = made()
    key, new = rotate(key, NOW, overlap=DAY, lifetime=timedelta(hours=1))
    assert not key.live(after(3_600))
    assert standing(old, key, after(3_599)) == standing(new, key, after(3_599)) == Standing.VALID
    assert standing(old, key, after(3_600)) == standing(new, key, after(3_600)) == Standing.EXPIRED


def test_secrets_whose_time_is_over_are_not_kept():
    key, _ = made()
    for day in range(20):
        key, _ = rotate(key, NOW + day * DAY, overlap=DAY)
        assert len(key.credentials) <= 2


def test_revoking_ends_all_secrets():
    key, old = made()
    key, new = rotate(key, NOW, overlap=DAY)
    revoked = replace(key, revoked_at=NOW)
    assert standing(old, revoked) == standing(new, revoked) == Standing.REVOKED


# Names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["ci", "a" * 63, "Team.1-of_2", "0"])
def test_a_name_does_nothing_to_a_terminal_or_a_shell(name):
    assert keys.NAME.fullmatch(name)


@pytest.mark.parametrize("name", ["", "-x", ".x", "a" * 64, "two words", "a\n", "\x1b[31m", "é", "a;b"])
def test_what_might_is_no_name(name):
    assert not keys.NAME.fullmatch(name)


# How often ------------------------------------------------------------------------------------

RATES = st.floats(0.01, 10_000)


def test_a_burst_is_what_two_seconds_bring_and_at_least_one():
    for rate, burst in ((50.0, 100), (1.0, 2), (0.5, 1), (0.01, 1)):
        limits = Limits()
        assert BURST_S == 2
        taken = [limits.take("a", rate, 7.0) for _ in range(burst + 1)]
        assert taken[:-1] == [0.0] * burst
        assert taken[-1] == pytest.approx(1 / rate)


def test_buckets_are_apart():
    limits = Limits()
    assert [limits.take("a", 0.5, 0.0), limits.take("b", 0.5, 0.0)] == [0.0, 0.0]
    assert limits.take("a", 0.5, 0.0) and limits.take("b", 0.5, 0.0)


@repeatable
@given(RATES, st.lists(st.floats(0, 3), min_size=1, max_size=200))
def test_in_no_span_of_time_is_more_let_through_than_the_rate_and_the_burst(rate, waits):
    limits, now, let_through = Limits(), 100.0, []
    for wait in waits:
        now += wait
        if not limits.take("a", rate, now):
            let_through.append(now)
    for start, begin in enumerate(let_through):
        for count, end in enumerate(let_through[start:], 1):
            assert count <= max(1.0, BURST_S * rate) + rate * (end - begin) + 0.01


@repeatable
@given(RATES, st.integers(0, 300))
def test_who_waits_as_long_as_told_is_let_through_and_not_before(rate, asked):
    limits, now = Limits(), 5.0
    for _ in range(asked):
        limits.take("a", rate, now)
    wait_s = limits.take("a", rate, now)
    if wait_s > 0.001:
        assert limits.take("a", rate, now + wait_s * 0.99)
    if wait_s:
        assert limits.take("a", rate, now + wait_s) == 0.0


def test_who_is_refused_does_not_wait_longer_for_asking():
    limits = Limits()
    limits.take("a", 0.5, 0.0)
    waits = [limits.take("a", 0.5, 1.0) for _ in range(50)]
    assert waits == [pytest.approx(1.0)] * 50


def test_an_idle_bucket_fills_up_and_no_further():
    limits = Limits()
    for _ in range(4):
        limits.take("a", 2.0, 0.0)
    taken = [limits.take("a", 2.0, 1_000.0) for _ in range(5)]
    assert taken[:4] == [0.0] * 4 and taken[4] > 0


def test_buckets_are_bounded_and_those_that_are_full_go_first():
    limits = Limits(most=3)
    for key_id, rate, now in (("b", 0.2, 9.0), ("c", 0.2, 9.0), ("full", 100.0, 9.5), ("d", 0.2, 10.0)):
        assert limits.take(key_id, rate, now) == 0.0
    assert all(limits.take(key_id, 0.2, 10.0) for key_id in "bcd")
    for number in range(1_000):
        limits.take(f"{number}", 0.2, 10.0)
    assert len(limits._full_at) == 3


def test_who_has_a_bucket_takes_no_room_from_others_and_the_oldest_goes():
    limits = Limits(most=3)
    for key_id in ("a", "a", "b", "b", "c", "c"):
        assert limits.take(key_id, 1.0, 10.0) == 0.0
    assert all(limits.take(key_id, 1.0, 10.0) > 0 for key_id in "abc")
    assert limits.take("d", 1.0, 10.0) == 0.0
    assert all(limits.take(key_id, 1.0, 10.0) > 0 for key_id in "bc")
