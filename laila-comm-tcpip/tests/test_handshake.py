"""The handshake, without sockets: who gets in, what crosses, and what a stranger learns."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from laila.comm.tcpip.handshake import ClientHandshake, Refused, ServerHandshake, Verified, Welcome, stretch
from laila.comm.tcpip.identity import Identity, KnownPeers
from laila.comm.tcpip.limits import Limits
from laila.errors import PeerError, PeerRefusedError

SECRET = "a secret of these tests, and long enough"
OTHER = "another one, which grants only to read"
SALT = bytes(range(32))
KEY, OTHER_KEY, WRONG_KEY = (stretch(secret, SALT) for secret in (SECRET, OTHER, "wrong"))
ALICE = "LAILA:POLICY:GLOBAL_ID:00000000-0000-4000-8000-00000000000a"
BOB = "LAILA:POLICY:GLOBAL_ID:00000000-0000-4000-8000-00000000000b"
ALICES, BOBS = Identity(), Identity()
LIMITS = Limits().offer()


def server(**options: Any) -> ServerHandshake:
    given = {"policy": BOB, "identity": BOBS, "salt": SALT, "keys": [(KEY, "write"), (OTHER_KEY, "read")]}
    return ServerHandshake(**{**given, "limits": LIMITS, "instance": "first", **options})


def client(policy: str | None = ALICE, identity: Identity = ALICES, **options: Any) -> ClientHandshake:
    return ClientHandshake(policy, identity, limits=LIMITS, **options)


def shake(
    one: ClientHandshake, other: ServerHandshake, key: bytes = KEY, texts: list[str] | None = None
) -> tuple[Verified, Welcome]:
    """Do the whole of it; ``texts`` gets all that crossed."""
    crossed: list[str] = [] if texts is None else texts
    crossed.append(one.hello())
    crossed.append(other.challenge(crossed[-1]))
    assert one.salt(crossed[-1]) == SALT
    crossed.append(one.authenticate(key))
    verified = other.verify(crossed[-1])
    crossed.append(verified.answer)
    return verified, one.welcome(crossed[-1])


def test_both_sides_know_who_the_other_is_and_what_it_may_do() -> None:
    verified, welcome = shake(client(), server())
    assert (verified.policy, verified.identity, verified.role) == (ALICE, ALICES.public, "write")
    assert (welcome.policy, welcome.identity, welcome.role) == (BOB, BOBS.public, "write")
    assert verified.offer._asdict() == LIMITS == welcome.offer._asdict()
    verified, welcome = shake(client(), server(), OTHER_KEY)
    assert verified.role == welcome.role == "read"


def test_a_client_that_is_no_policy_needs_no_identity() -> None:
    verified, _ = shake(client(policy=None), server())
    assert verified.policy is None
    assert verified.role == "write"


def test_neither_the_secret_nor_its_key_crosses() -> None:
    texts: list[str] = []
    shake(client(), server(), texts=texts)
    crossed = "".join(texts)
    for hidden in (SECRET, SECRET.encode().hex(), KEY.hex(), BOBS.private().hex(), ALICES.private().hex()):
        assert hidden not in crossed


def test_a_wrong_secret_is_refused() -> None:
    with pytest.raises(Refused) as refused:
        shake(client(), server(), WRONG_KEY)
    assert refused.value.secret
    assert "secret" in json.loads(refused.value.answer)["error"]["message"]
    assert BOBS.public.hex() not in refused.value.answer


def test_a_recorded_handshake_cannot_be_replayed() -> None:
    texts: list[str] = []
    shake(client(), server(), texts=texts)
    hello, _, authenticate, _ = texts
    again = server()
    again.challenge(hello)
    with pytest.raises(Refused, match="wrong secret"):
        again.verify(authenticate)


def test_a_recorded_server_cannot_be_replayed() -> None:
    texts: list[str] = []
    shake(client(), server(), texts=texts)
    one = client()
    one.hello()
    one.salt(texts[1])
    one.authenticate(KEY)
    with pytest.raises(PeerRefusedError, match="does not know the secret"):
        one.welcome(texts[3])


def test_a_rogue_listener_is_found_out_and_learns_one_hmac() -> None:
    """It does not know the secret, and what it was sent does not prove to others that it does."""
    one, rogue, real = client(), server(keys=[(WRONG_KEY, "write")]), server()
    hello = one.hello()
    one.salt(rogue.challenge(hello))
    proof = one.authenticate(KEY)
    with pytest.raises(Refused):
        rogue.verify(proof)
    # Reflected as its own proof, it is none: each side proves in words of its own.
    mirrored = json.loads(proof)["params"]
    answer = {"proof": mirrored["proof"], "signature": mirrored["signature"], "role": "write"}
    with pytest.raises(PeerRefusedError):
        one.welcome(
            json.dumps({"jsonrpc": "2.0", "id": 1, "result": {**answer, "instance": "x", "limits": LIMITS}})
        )
    # Nor does it open the real one: that has a nonce of its own.
    real.challenge(hello)
    with pytest.raises(Refused):
        real.verify(proof)


@pytest.mark.parametrize("field", ["nonce", "salt", "policy", "identity"])
def test_nothing_in_the_challenge_can_be_changed_on_the_way(field: str) -> None:
    one, other = client(), server()
    challenge = json.loads(other.challenge(one.hello()))
    changed = {"policy": ALICE[:-1] + "c", "identity": Identity().public.hex()}.get(field, "00" * 32)
    challenge["result"][field] = changed
    salt = one.salt(json.dumps(challenge))
    with pytest.raises(Refused):
        other.verify(one.authenticate(stretch(SECRET, salt)))


@pytest.mark.parametrize("field", ["policy", "identity", "nonce", "versions"])
def test_nothing_in_the_hello_can_be_changed_on_the_way(field: str) -> None:
    one, other = client(), server()
    hello = json.loads(one.hello())
    hello["params"][field] = {
        "policy": ALICE[:-1] + "c",
        "identity": Identity().public.hex(),
        "nonce": "00" * 32,
        "versions": [1, 2],
    }[field]
    one.salt(other.challenge(json.dumps(hello)))
    with pytest.raises(Refused):
        other.verify(one.authenticate(KEY))


@pytest.mark.parametrize("field", ["role", "instance"])
def test_nothing_in_the_welcome_can_be_changed_on_the_way(field: str) -> None:
    one, other = client(), server()
    one.salt(other.challenge(one.hello()))
    answer = json.loads(other.verify(one.authenticate(KEY)).answer)
    answer["result"][field] = "admin"
    with pytest.raises(PeerRefusedError):
        one.welcome(json.dumps(answer))


def test_somebody_with_the_secret_cannot_sign_as_another() -> None:
    """Mallory knows the secret, and shows Alice's key, which she cannot sign with."""

    class Thief(Identity):
        @property
        def public(self) -> bytes:
            return ALICES.public

        @public.setter
        def public(self, value: bytes) -> None: ...

    with pytest.raises(Refused, match="signature"):
        shake(client(identity=Thief()), server())


def test_the_channel_is_bound() -> None:
    shake(client(channel=b"x" * 32), server(channel=b"x" * 32))
    with pytest.raises(Refused):
        shake(client(channel=b"x" * 32), server(channel=b"y" * 32))
    with pytest.raises(Refused):
        shake(client(channel=b"x" * 32), server())


def test_versions_are_negotiated() -> None:
    hello = json.loads(client().hello())
    hello["params"]["versions"] = [7, 1, 9]
    assert json.loads(server().challenge(json.dumps(hello)))["result"]["version"] == 1
    hello["params"]["versions"] = [7, 9]
    with pytest.raises(Refused, match="version") as refused:
        server().challenge(json.dumps(hello))
    assert "speaks 1" in refused.value.answer
    challenge = json.loads(server().challenge(client().hello()))
    challenge["result"]["version"] = 7
    with pytest.raises(PeerError, match="not offered"):
        client().salt(json.dumps(challenge))


def test_a_policy_is_no_peer_of_its_own() -> None:
    with pytest.raises(Refused, match="itself"):
        shake(client(policy=BOB, identity=BOBS), server())


def test_an_id_belongs_to_the_key_it_was_first_seen_with() -> None:
    known = KnownPeers()
    assert known.claim(ALICE, ALICES.public)
    assert known.claim(ALICE, ALICES.public)
    assert not known.claim(ALICE, BOBS.public)
    assert known.claim(ALICE, ALICES.public)


def test_known_ids_are_not_forgotten() -> None:
    known = KnownPeers()
    assert known.claim(ALICE, ALICES.public, "write")
    taken = [known.claim(f"{BOB}{i}", bytes(32), "read") for i in range(10_001)]
    assert taken == [True] * 10_000 + [False]  # strangers who may read fill the room of readers
    assert known.claim(f"{BOB}0", bytes(32), "read")
    assert not known.claim(f"{BOB}0", bytes(31), "read")
    assert known.claim(f"{BOB}new", bytes(32), "write")
    assert known.claim(f"{BOB}called", bytes(32), None)  # whom this side has connected to
    assert not known.claim(ALICE, BOBS.public, "write")
    assert known.claim(ALICE, ALICES.public, "write")


def test_an_id_that_was_claimed_in_advance_is_taken_over_by_who_may_do_more() -> None:
    known = KnownPeers()
    assert known.claim(ALICE, BOBS.public, "read")
    assert known.claim(ALICE, ALICES.public, "write")
    assert not known.claim(ALICE, BOBS.public, "read")
    assert known.claim(ALICE, ALICES.public, "read")  # the same key, with another secret
    assert not known.claim(ALICE, BOBS.public, "write")


def test_a_secret_is_stretched_as_the_wire_page_says() -> None:
    """A fixed value, so that nobody changes the parameters without a new version."""
    assert stretch("secret", bytes(32)).hex() == (
        "f9c219802c866621865f40c57431b001429abbb71558218ad73122bf4045c072"
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=80),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=20,
)
PARAMS = st.fixed_dictionaries(
    {},
    optional={
        "versions": st.lists(st.integers()) | JSON,
        "nonce": st.sampled_from(["00" * 32, "zz" * 32, "00"]) | JSON,
        "policy": st.sampled_from([ALICE, "LAILA:ENTRY:x"]) | JSON,
        "identity": st.sampled_from(["00" * 32]) | JSON,
        "proof": st.sampled_from(["00" * 32]) | JSON,
        "signature": st.sampled_from(["00" * 64]) | JSON,
        "limits": st.just(LIMITS) | JSON,
        "role": JSON,
        "salt": st.sampled_from(["00" * 32]) | JSON,
        "version": st.just(1) | JSON,
    },
)


def _message(method: str, params: object, number: object) -> str:
    return json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params, "result": params})


METHODS = st.sampled_from(["laila.hello", "laila.authenticate", "other"])
IDS = st.integers() | st.none() | st.text(max_size=5)
MESSAGES = st.text() | JSON.map(json.dumps) | st.builds(_message, METHODS, PARAMS, IDS)


@given(MESSAGES, MESSAGES)
def test_whatever_a_stranger_says_is_refused(first: str, second: str) -> None:
    other = server()

    def listen() -> None:
        other.challenge(first)
        other.verify(second)

    with pytest.raises(Refused):
        listen()


@given(MESSAGES, MESSAGES)
def test_whatever_a_stranger_answers_is_a_peer_error(first: str, second: str) -> None:
    one = client()
    one.hello()

    def listen() -> None:
        one.salt(first)
        one.authenticate(KEY)
        one.welcome(second)

    with pytest.raises(PeerError):
        listen()
