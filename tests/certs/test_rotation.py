import datetime as dt

import pytest

from cryptography import x509
from cryptography.x509 import verification
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from certs.authority import Authority
from certs.bundle import Bundle, CertificateError, Pair
from certs.rotation import (
    Lifetimes,
    Observed,
    Rest,
    WriteAuthority,
    WriteBundle,
    WriteServing,
    next_step,
)
from tests.support import tls


START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
LIFETIMES = Lifetimes()
SECOND, MINUTE, DAY = dt.timedelta(seconds=1), dt.timedelta(minutes=1), dt.timedelta(days=1)
# The kubelet brings a changed Secret to a Pod within two minutes.
MOUNT_LAG = 2 * MINUTE
# API servers watch webhook configurations; far less in practice.
WATCH_LAG = MINUTE
# Far more events than an authority sees in its life.
_MANY_RESTS = 100


def accepts(bundle: bytes, serving, now) -> bool:
    """
    Verify as a client would that has *bundle* and asks for the Service, by cryptography's rules.
    """
    try:
        pair = Pair.parse(serving["tls.crt"], serving["tls.key"])
        roots = x509.load_pem_x509_certificates(bundle)
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store(roots))
            .time(now)
            .build_server_verifier(x509.DNSName(tls.HOST))
        )
        verifier.verify(pair.certificate, list(pair.chain[1:]))
    except (ValueError, KeyError, CertificateError, verification.VerificationError):
        return False
    return True


class Cluster:
    """
    Two Secrets and a webhook configuration, with compare-and-swap, and a clock.
    """

    def __init__(self):
        self.now = START
        self.authority = (0, {})
        self.serving = (0, {})
        self.bundles = (b"", b"")
        self.written = []
        # What webhooks and API servers may hold besides the newest, and until when.
        self._old_pairs = []
        self._old_bundles = []

    def write(self, step, seen):
        """
        Write what *step* says if nobody wrote since it was *seen*; tell whether that was so.
        """
        authority, serving, bundles = seen
        if isinstance(step, WriteAuthority):
            if authority[0] != self.authority[0]:
                return False
            self.authority = (authority[0] + 1, {**self.authority[1], **step.data})
        elif isinstance(step, WriteServing):
            if serving[0] != self.serving[0]:
                return False
            self._old_pairs.append((self.now + MOUNT_LAG, self.serving[1]))
            self.serving = (serving[0] + 1, {**self.serving[1], **step.data})
        elif isinstance(step, WriteBundle):
            if bundles != self.bundles:
                return False
            self._old_bundles += [(self.now + WATCH_LAG, bundle) for bundle in self.bundles]
            self.bundles = (step.pem, step.pem)
        self.written.append(step)
        return True

    def refusals(self):
        """
        Count the handshakes that could fail now, whatever each side has heard of so far.
        """
        pairs = [self.serving[1], *(old for end, old in self._old_pairs if self.now < end)]
        bundles = [*self.bundles, *(old for end, old in self._old_bundles if self.now < end)]
        return sum(
            not accepts(bundle, pair, self.now) for bundle in set(bundles) for pair in pairs
        )

    def step(self, now=None):
        observed = Observed(self.authority[1], self.serving[1], self.bundles)
        return next_step(observed, names=tls.NAMES, lifetimes=LIFETIMES, now=now or self.now)

    def settle(self, limit=10):
        """
        Run one controller until it rests; return its rest.
        """
        for _ in range(limit):
            step = self.step()
            if isinstance(step, Rest):
                return step
            assert self.write(step, (self.authority, self.serving, self.bundles))
        raise AssertionError([step.why for step in self.written[-limit:]])


def kinds(cluster):
    return [type(step).__name__ for step in cluster.written]


@pytest.fixture
def cluster():
    cluster = Cluster()
    cluster.settle()
    cluster.now += 10 * MINUTE
    cluster.written.clear()
    return cluster


def test_first_install():
    """
    From two empty Secrets: an authority, then its trust, then a pair, and rest until it is due.
    """
    cluster = Cluster()
    rest = cluster.settle()

    assert kinds(cluster) == ["WriteAuthority", "WriteBundle", "WriteServing"]
    assert rest.not_after == START + LIFETIMES.serving
    assert START + 59 * DAY < rest.until <= START + 60 * DAY
    cluster.now += 10 * MINUTE
    assert cluster.refusals() == 0


def test_renews_the_pair_at_two_thirds(cluster):
    """
    The serving pair is renewed when two thirds of its time have passed, and not before.
    """
    due = cluster.settle().until
    cluster.now = due - SECOND
    cluster.settle()
    early = kinds(cluster)
    cluster.now = due
    cluster.settle()

    assert (early, kinds(cluster)) == ([], ["WriteServing"])
    assert cluster.refusals() == 0


def test_rotates_the_authority_with_an_overlap(cluster):
    """
    A new authority is trusted first and signs later; the old one leaves with its last pair.
    """
    old = cluster.authority[1]["ca.crt"]
    for _ in range(_MANY_RESTS):
        if any(isinstance(step, WriteAuthority) for step in cluster.written):
            break
        cluster.now = cluster.settle().until
        cluster.settle()
    else:
        pytest.fail("no new authority in so many steps")
    began = cluster.now
    last = Pair.parse(cluster.serving[1]["tls.crt"], cluster.serving[1]["tls.key"])
    trusted = cluster.bundles[0].count(b"BEGIN")
    cluster.now = began + LIFETIMES.settling - SECOND
    cluster.settle()
    signer_before = cluster.serving[1]["ca.crt"]
    cluster.now = began + LIFETIMES.settling
    cluster.settle()
    signer_after = cluster.serving[1]["ca.crt"]

    assert (trusted, signer_before, signer_after) == (2, old, cluster.authority[1]["ca.crt"])
    for _ in range(_MANY_RESTS):
        if old not in cluster.bundles[0]:
            break
        assert cluster.refusals() == 0
        cluster.now = cluster.settle().until
        cluster.settle()
    else:
        pytest.fail("the old authority never leaves")
    assert cluster.now >= last.certificate.not_valid_after_utc
    assert cluster.now <= began + LIFETIMES.serving + 3 * LIFETIMES.settling + 2 * MINUTE * 60
    assert old not in cluster.authority[1]["previous.crt"]


def test_trust_that_was_lost_begins_anew(cluster):
    """
    Where caBundle loses the new authority for a moment, the time that it has to be trusted restarts.
    """
    before, old = cluster.bundles, cluster.authority[1]["ca.crt"]
    for _ in range(_MANY_RESTS):
        if old != cluster.authority[1]["ca.crt"]:
            break
        before, old = cluster.bundles, cluster.authority[1]["ca.crt"]
        cluster.now = cluster.settle().until
        cluster.settle()
    began = cluster.now
    cluster.now = began + LIFETIMES.settling - SECOND
    cluster.bundles = before
    cluster.settle()
    cluster.now = began + LIFETIMES.settling
    cluster.settle()

    assert old != cluster.authority[1]["ca.crt"]
    assert old == cluster.serving[1]["ca.crt"]


def test_ten_years_with_outages_of_the_controller(cluster):
    """
    Over ten years, with the controller away for 29 days now and then, no handshake can fail.
    """
    away = 0
    while cluster.now < START + 3650 * DAY:
        rest = cluster.settle()
        assert cluster.refusals() == 0
        away += 1
        cluster.now = max(cluster.now + SECOND, rest.until) + (
            29 * DAY if away % 3 == 0 else MINUTE
        )
        assert cluster.refusals() == 0

    authorities = sum(
        isinstance(step, WriteAuthority) and "ca.key" in step.data for step in cluster.written
    )
    pairs = sum(isinstance(step, WriteServing) for step in cluster.written)
    print(f"\n{authorities} authorities, {pairs} pairs, {len(cluster.written)} writes in 10 years")
    assert authorities >= 12
    assert pairs >= 45


@pytest.mark.parametrize("outage", [31, 91, 400], ids="{} days".format)
def test_long_outage_is_repaired(cluster, outage):
    """
    However long the controller was away, what it finds is repaired at once when it is back.
    """
    cluster.now += LIFETIMES.serving * 2 / 3 + outage * DAY
    cluster.settle()
    latest = accepts(cluster.bundles[0], cluster.serving[1], cluster.now)
    cluster.now += 10 * MINUTE
    cluster.settle()

    assert latest
    assert cluster.refusals() == 0


def _set(which, **data):
    def damage(cluster):
        version, old = getattr(cluster, which)
        new = {name.replace("_", "."): value for name, value in data.items()}
        setattr(cluster, which, (version + 1, {**old, **new}))

    return damage


def _empty(*which):
    def damage(cluster):
        for one in which:
            version, _ = getattr(cluster, one)
            setattr(cluster, one, (version + 1, {}))

    return damage


def _bundles(*bundles):
    def damage(cluster):
        cluster.bundles = bundles

    return damage


def _foreign_pair(cluster):
    pair = tls.pair_of(tls.authority(at=cluster.now), at=cluster.now)
    _set("serving", tls_crt=pair.certificate_pem, tls_key=pair.key_pem)(cluster)


def _other_names(cluster):
    held = Authority.parse(cluster.authority[1]["ca.crt"], cluster.authority[1]["ca.key"])
    pair = held.issue(["elsewhere"], now=cluster.now, lifetime=DAY)
    _set("serving", tls_crt=pair.certificate_pem, tls_key=pair.key_pem)(cluster)


def _future_authority(cluster):
    at = cluster.now + 1000 * DAY
    future = tls.authority(at=at)
    _set("authority", ca_crt=future.certificate_pem, ca_key=future.key_pem)(cluster)


DAMAGES = {
    "authority emptied": _empty("authority"),
    "serving emptied": _empty("serving"),
    "both emptied": _empty("authority", "serving"),
    "caBundle emptied": _bundles(b"", b""),
    "one caBundle emptied": lambda cluster: _bundles(cluster.bundles[0], b"")(cluster),
    "caBundle garbage": _bundles(b"\xff\x00", b"-----BEGIN CERTIFICATE-----\nx\n"),
    "stranger in caBundle": lambda cluster: _bundles(
        *[bundle + tls.authority().certificate_pem for bundle in cluster.bundles]
    )(cluster),
    "authority's key lost": _set("authority", ca_key=b""),
    "authority's key garbage": _set("authority", ca_key=b"\xff"),
    "authority garbage": _set("authority", ca_crt=b"garbage"),
    "authority of the future": _future_authority,
    "previous garbage": _set("authority", previous_crt=b"garbage"),
    "record garbage": lambda cluster: cluster.authority[1].update({"trusted-since": b"\xff soon"}),
    "key of another pair": _set("serving", tls_key=tls.pair_of(tls.authority()).key_pem),
    "certificate garbage": _set("serving", tls_crt=b"garbage"),
    "pair of a stranger": _foreign_pair,
    "pair for other names": _other_names,
    "signer's copy lost": _set("serving", ca_crt=b""),
    "everything emptied": lambda cluster: (
        _empty("authority", "serving")(cluster),
        _bundles(b"", b"")(cluster),
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_repaired_at_once(cluster, damage):
    """
    Whatever was broken, a few writes without waiting bring back a pair that is trusted.
    """
    DAMAGES[damage](cluster)
    cluster.settle()

    assert accepts(cluster.bundles[0], cluster.serving[1], cluster.now)
    assert cluster.bundles[0] == cluster.bundles[1]
    cluster.now += 10 * MINUTE
    cluster.settle()
    cluster.now += 10 * MINUTE
    cluster.settle()
    assert cluster.refusals() == 0
    held = Authority.parse(cluster.authority[1]["ca.crt"], cluster.authority[1]["ca.key"])
    assert cluster.serving[1]["ca.crt"] == held.certificate_pem
    cluster.written.clear()
    cluster.settle()
    assert cluster.written == []


@pytest.mark.parametrize(
    "damage", ["authority emptied", "both emptied", "authority's key lost", "authority garbage"]
)
def test_webhooks_outlive_the_loss_of_the_authority(cluster, damage):
    """
    Webhooks that serve the old pair from memory stay trusted when the authority is lost.
    """
    held = cluster.serving[1]
    DAMAGES[damage](cluster)
    for minutes in (0, 1, 6, 60):
        cluster.now += minutes * MINUTE
        cluster.settle()

        assert accepts(cluster.bundles[0], held, cluster.now)


def test_old_copy_of_the_authority_put_back(cluster):
    """
    When a backup brings back an older authority, what is served meanwhile stays trusted.
    """
    backup = dict(cluster.authority[1])
    cluster.now += 300 * DAY
    for _ in range(3):
        cluster.settle()
        cluster.now += 10 * MINUTE
    cluster.authority = (cluster.authority[0] + 1, backup)
    for _ in range(4):
        cluster.settle()

        assert cluster.refusals() == 0
        cluster.now += 10 * MINUTE


def test_stranger_is_not_kept_when_the_authority_is_renewed(cluster):
    """
    An authority that somebody slipped into caBundle does not survive a rotation.
    """
    stranger = tls.authority(at=cluster.now, days=3650).certificate_pem
    cluster.now += 250 * DAY
    cluster.bundles = tuple(bundle + stranger for bundle in cluster.bundles)
    cluster.settle()

    assert stranger not in cluster.bundles[0]
    assert stranger not in cluster.authority[1]["previous.crt"]


def test_caBundle_stays_small(cluster):  # noqa: N802
    """
    An authority that is lost again and again does not make caBundle grow without end.
    """
    for _ in range(30):
        _empty("authority")(cluster)
        cluster.settle()
        cluster.now += SECOND

    assert len(Bundle.salvage(cluster.bundles[0]).certificates) <= 9


def test_clock_that_was_ahead(cluster):
    """
    What was made under a clock that was ahead is replaced when the clock is right again.
    """
    cluster.now += 3000 * DAY
    for _ in range(3):
        cluster.settle()
        cluster.now += 10 * MINUTE
    cluster.now = START + DAY
    cluster.settle()

    assert accepts(cluster.bundles[0], cluster.serving[1], cluster.now)


def test_no_configuration_to_write_to():
    """
    Without an entry in the webhook configuration the Secrets are kept all the same.
    """
    cluster = Cluster()
    cluster.bundles = ()
    cluster.settle()

    assert kinds(cluster) == ["WriteAuthority", "WriteServing"]


def test_no_key_is_shown(cluster):
    """
    No key is in what a step or an observation looks like in a log.
    """
    fresh = Cluster()
    fresh.settle()
    shown = repr(fresh.written) + repr(Observed(fresh.authority[1], fresh.serving[1]))

    assert "PRIVATE" not in shown
    assert any("ca.key" in step.data for step in fresh.written if hasattr(step, "data"))


def test_lifetimes_have_to_fit():
    """
    An authority that could not outlive its pairs is refused.
    """
    with pytest.raises(ValueError, match="three times"):
        Lifetimes(authority=10 * DAY, serving=5 * DAY)


GARBAGE = st.one_of(
    st.sampled_from([b"", b"garbage", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n"]),
    st.binary(max_size=40),
    st.integers(0, 3).map(lambda n: _material()[n]),
)
_MATERIAL = []


def _material():
    if not _MATERIAL:
        one = tls.authority(at=START)
        pair = tls.pair_of(one, at=START)
        _MATERIAL.extend([one.certificate_pem, one.key_pem, pair.certificate_pem, pair.key_pem])
    return _MATERIAL


@settings(max_examples=150, deadline=None)
@given(
    authority=st.dictionaries(
        st.sampled_from(["ca.crt", "ca.key", "previous.crt", "trusted-since"]), GARBAGE
    ),
    serving=st.dictionaries(st.sampled_from(["tls.crt", "tls.key", "ca.crt"]), GARBAGE),
    bundles=st.lists(GARBAGE, max_size=3),
    age=st.integers(-400, 4000),
)
def test_every_state_leads_to_rest(authority, serving, bundles, age):
    """
    From anything at all, a few steps lead to a trusted pair and to rest.
    """
    cluster = Cluster()
    cluster.now = START + age * DAY
    cluster.authority, cluster.serving = (0, authority), (0, serving)
    cluster.bundles = tuple(bundles)
    cluster.settle()

    assert all(accepts(bundle, cluster.serving[1], cluster.now) for bundle in cluster.bundles)


def controller(cluster):
    """
    One controller, that can be paused between any two of its reads and writes.
    """
    while True:
        bundles = cluster.bundles
        yield
        serving = cluster.serving
        yield
        authority = cluster.authority
        yield
        # Its clock is read before the write, so a long pause makes it write what is old.
        step = next_step(
            Observed(authority[1], serving[1], bundles),
            names=tls.NAMES,
            lifetimes=LIFETIMES,
            now=cluster.now,
        )
        yield
        if not isinstance(step, Rest):
            cluster.write(step, (authority, serving, bundles))
            yield


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["first", "second", "both", "crash first", "crash second"]),
            st.integers(1, 12),
            st.sampled_from([0, 0, 0, 1, 30, 120, 400, 3600, 86400, 20 * 86400]),
        ),
        min_size=10,
        max_size=150,
    )
)
def test_two_controllers_race(schedule):
    """
    However two controllers interleave, pause and crash, no handshake can fail.
    """
    cluster = Cluster()
    cluster.settle()
    cluster.now += 10 * MINUTE
    running = {"first": controller(cluster), "second": controller(cluster)}
    for who, turns, seconds in schedule:
        if who.startswith("crash"):
            running[who.removeprefix("crash ")] = controller(cluster)
        for turn in range(turns):
            name = ("first", "second")[turn % 2] if who == "both" else who.removeprefix("crash ")
            next(running[name])
            assert cluster.refusals() == 0
        cluster.now += seconds * SECOND
        if seconds > 3600:
            # One controller is well now and then; the other stays where it was.
            cluster.settle()
            cluster.now += 10 * MINUTE
            cluster.settle()
        assert cluster.refusals() == 0
