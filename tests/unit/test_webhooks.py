"""Standard Webhooks: what is signed verifies, and nothing else does."""

import base64
import email.message
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hasty.errors import NotVerified
from hasty.webhooks import ID, SIGNATURE, TIMESTAMP, Message, keys_of, new_secret, sign, verify
from tests.unit.examples import repeatable

#: The example that the libraries of Standard Webhooks are tested with.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
MESSAGE_ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
SENT_AT = datetime.fromtimestamp(1614265330, UTC)
BODY = b'{"test": 2432232314}'
SIGNED = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

HEADERS = {ID: MESSAGE_ID, TIMESTAMP: "1614265330", SIGNATURE: SIGNED}
GENUINE = Message(MESSAGE_ID, SENT_AT, {"test": 2432232314})

OTHER = "whsec_" + base64.b64encode(b"another secret of 32 bytes, really"[:32]).decode()


def test_a_message_is_signed_as_the_standard_says():
    assert sign(SECRET, MESSAGE_ID, SENT_AT, BODY) == HEADERS


def test_a_genuine_message_verifies():
    assert verify(SECRET, HEADERS, BODY, now=SENT_AT) == GENUINE
    assert verify(SECRET.removeprefix("whsec_"), HEADERS, BODY.decode(), now=SENT_AT) == GENUINE


def test_the_case_of_a_headers_name_says_nothing():
    assert verify(SECRET, {name.upper(): value for name, value in HEADERS.items()}, BODY, now=SENT_AT)
    of_a_server = email.message.Message()
    for name, value in HEADERS.items():
        of_a_server[name.title()] = value
    assert verify(SECRET, of_a_server, BODY, now=SENT_AT) == GENUINE


def refused(headers=HEADERS, body=BODY, secret=SECRET, now=SENT_AT, **more) -> str:
    with pytest.raises(NotVerified) as told:
        verify(secret, headers, body, now=now, **more)
    return str(told.value)


@pytest.mark.parametrize("name", [ID, TIMESTAMP, SIGNATURE])
def test_each_header_must_be_there(name):
    assert refused({key: value for key, value in HEADERS.items() if key != name}) == (
        f"the header {name} is missing"
    )


FORGERIES = {
    "another id": {ID: "msg_other"},
    "another time": {TIMESTAMP: "1614265331"},
    "no signature": {SIGNATURE: ""},
    "half of one": {SIGNATURE: SIGNED[:-10]},
    "without its version": {SIGNATURE: SIGNED.removeprefix("v1,")},
    "of another version": {SIGNATURE: SIGNED.replace("v1,", "v2,")},
    "of letters that no encoding has": {SIGNATURE: "v1,\udcff\xe9"},
    "an id that no encoding has": {ID: "\udcff\xe9"},
}


@pytest.mark.parametrize("changed", FORGERIES.values(), ids=FORGERIES)
def test_a_forged_header_does_not_verify(changed):
    assert refused({**HEADERS, **changed}) == "no signature is of this message and made with this secret"


@repeatable
@given(st.binary())
def test_no_other_body_verifies(body):
    if body != BODY:
        assert "no signature" in refused(body=body)


@repeatable
@given(st.integers(0, len(BODY) - 1), st.integers(1, 255))
def test_no_byte_of_the_body_can_be_changed(position, change):
    assert "no signature" in refused(body=bytes(b ^ change * (n == position) for n, b in enumerate(BODY)))


def test_a_message_of_somebody_who_has_another_secret_does_not_verify():
    assert "no signature" in refused(sign(OTHER, MESSAGE_ID, SENT_AT, BODY))


@pytest.mark.parametrize("stamp", ["", "soon", "-1", "1.5", " 1614265330", "1614265330\n", "١٦", "9" * 13])
def test_what_is_no_time_does_not_verify(stamp):
    assert refused({**HEADERS, TIMESTAMP: stamp}).startswith("the header webhook-timestamp is not a")


def test_a_time_beyond_all_calendars_does_not_verify():
    assert refused({**HEADERS, TIMESTAMP: "9" * 12}) == "the header webhook-timestamp is not a time"


@pytest.mark.parametrize("off_s", [-300, -1, 0, 1, 300])
def test_what_was_sent_about_now_verifies(off_s):
    assert verify(SECRET, HEADERS, BODY, now=SENT_AT + timedelta(seconds=off_s))


@pytest.mark.parametrize("off_s", [-300.001, 300.001, 10**6])
def test_what_is_old_or_from_the_future_does_not(off_s):
    assert refused(now=SENT_AT + timedelta(seconds=off_s)) == (
        "the message was not sent about now: it is old, or a clock is wrong"
    )


def test_what_is_old_is_each_receivers_own():
    late = SENT_AT + timedelta(hours=1)
    assert verify(SECRET, HEADERS, BODY, 3_600, now=late)
    assert "about now" in refused(now=late, tolerance_s=3_599)


def test_now_is_the_present_time_unless_another_is_given():
    just_now = datetime.now(UTC)
    body = b"{}"
    assert verify(SECRET, sign(SECRET, "id", just_now, body), body).content == {}
    assert "about now" in refused(now=None)


def test_the_time_of_a_forgery_is_not_told_apart():
    assert "no signature" in refused({**HEADERS, ID: "x"}, now=SENT_AT + timedelta(days=1))


def test_a_genuine_message_that_is_no_json_is_no_message():
    assert refused(sign(SECRET, "id", SENT_AT, b"{"), b"{") == "the body is not JSON"


# Changing the secret -----------------------------------------------------------------------------


def test_while_a_secret_changes_both_sign():
    headers = sign(f"{OTHER} {SECRET}", MESSAGE_ID, SENT_AT, BODY)
    mine, yours = headers[SIGNATURE].split()
    assert mine != yours == SIGNED
    for secret in (OTHER, SECRET):
        assert verify(secret, headers, BODY, now=SENT_AT) == GENUINE
    assert "no signature" in refused(headers, secret=new_secret())


def test_a_receiver_may_know_several():
    assert verify(f"{OTHER}, {SECRET}", HEADERS, BODY, now=SENT_AT) == GENUINE
    assert keys_of(f" {OTHER} ,{SECRET}\n") == (*keys_of(OTHER), *keys_of(SECRET))


def test_signatures_of_other_kinds_are_passed_over():
    headers = {**HEADERS, SIGNATURE: f"v1a,abc x {SIGNED} v9,"}
    assert verify(SECRET, headers, BODY, now=SENT_AT) == GENUINE


# Secrets -----------------------------------------------------------------------------------------


def test_each_new_secret_is_another_and_strong():
    secrets = {new_secret() for _ in range(100)}
    assert len(secrets) == 100
    assert {len(key) for secret in secrets for key in keys_of(secret)} == {32}
    assert all(secret.startswith("whsec_") for secret in secrets)


@pytest.mark.parametrize("size", [24, 64])
def test_a_key_has_24_to_64_bytes(size):
    assert keys_of("whsec_" + base64.b64encode(bytes(size)).decode()) == (bytes(size),)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "hunter2",
        "whsec_",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        SECRET[:-1],
        ", \n",
        SECRET + ", hunter2",
        SECRET.replace("Q", "é"),
        SECRET.replace("Q", "-"),
        "whsec_!" + base64.b64encode(bytes(32)).decode(),
    ],
)
def test_what_is_no_secret_is_refused_and_not_shown(secret):
    with pytest.raises(ValueError, match=r"^must be whsec_ and 24 to 64 bytes in base64$"):
        keys_of(secret)


def test_without_a_secret_nothing_is_signed_or_verified():
    for use in (lambda: sign("", MESSAGE_ID, SENT_AT, BODY), lambda: verify("", HEADERS, BODY, now=SENT_AT)):
        with pytest.raises(ValueError, match="must be whsec_"):
            use()


# For receivers -----------------------------------------------------------------------------------


def test_a_receiver_needs_nothing_of_the_server():
    program = "import sys, json, hasty.webhooks; print(json.dumps(sorted(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    imported = {name.partition(".")[0] for name in json.loads(told.stdout)}
    assert imported & {"ray", "pymongo", "fastapi", "starlette", "pydantic", "httpx", "uvloop"} == set()
