"""
Rules that were in force lately.
"""

import json

from datetime import UTC, datetime, timedelta

import pytest

from webhook.image.rules import Rule, Rules
from webhook.recovery.former import FormerRules


NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
OLD = Rules("h.example.com", (Rule("docker.io", "old", aliases=("registry-1.docker.io",)),))
NEW = Rules("h.example.com", (Rule("docker.io", "new"), Rule("quay.io", "q", exclude=("a/*",))))


def test_a_renamed_project_is_remembered():
    """
    The pair of before stands beside the rules in force, across a restart of the controller.
    """
    former = FormerRules.read(FormerRules().with_rules(OLD, NOW).write())

    rules = former.with_rules(NEW, NOW).onto(NEW)

    assert NEW.rules == rules.rules
    assert [OLD.rules] == [each.rules for each in rules.former]


def test_a_pair_is_forgotten_after_thirty_days():
    """
    What was last in force longer ago counts no more.
    """
    former = FormerRules().with_rules(OLD, NOW)

    kept = former.with_rules(NEW, NOW + timedelta(days=29, hours=23))
    gone = former.with_rules(NEW, NOW + timedelta(days=30, seconds=1))

    assert 1 == len(kept.onto(NEW).former)
    assert () == gone.onto(NEW).former


def test_no_more_than_64_pairs_are_kept():
    """
    Those that were in force last stay, and those that are in force first of all.
    """
    former = FormerRules()
    for number in range(100):
        rules = Rules("h.example.com", (Rule("docker.io", f"p{number}"),))
        former = former.with_rules(rules, NOW + timedelta(minutes=number))

    assert [f"p{number}" for number in range(99, 35, -1)] == [p.project for p in former.pairs]


def test_a_bad_entry_costs_no_other():
    """
    What can't be used is dropped by itself, and told.
    """
    good = json.loads(FormerRules().with_rules(OLD, NOW).write())["rules"]
    bad = [
        7,
        {},
        {**good[0], "registry": "no host/"},
        {**good[0], "project": "a/b"},
        {**good[0], "aliases": [3]},
        {**good[0], "until": "9999-12-31T23:59:59-01:00"},
        {**good[0], "until": 5},
    ]

    found = FormerRules.read(json.dumps({"version": 1, "rules": [*bad, *good]}))

    assert [OLD.rules[0].project] == [pair.project for pair in found.pairs]
    assert len(bad) == len(found.dropped)


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"version": 2, "rules": []}', '{"version": 1}'])
def test_what_can_not_be_read_is_told(text):
    """
    Garbage costs the memory, and nothing else.
    """
    found = FormerRules.read(text)

    assert ((), 1) == (found.pairs, len(found.dropped))
