"""Which rules an inventory gets, and which thresholds make no sense."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.nano.ops.plugins.filter.rule_files import rule_files
from ansible_collections.nano.ops.plugins.filter.threshold_problems import threshold_problems

SUBJECTS = {"backup": ["backup"], "availability": ["nginx", "nano_api"], "host": ["all"]}


@pytest.mark.parametrize(
    ("groups", "subjects"),
    [
        ({"all": ["a"]}, ["host"]),
        ({"all": ["a"], "backup": []}, ["host"]),
        ({"all": ["a"], "backup": ["a"], "nginx": ["a"]}, ["backup", "host"]),
        ({"all": ["a"], "nginx": ["a"], "nano_api": ["b"]}, ["availability", "host"]),
    ],
)
def test_subject_has_rules_where_each_of_its_groups_has_a_member(
    groups: dict[str, list[str]], subjects: list[str]
) -> None:
    assert rule_files(SUBJECTS, groups, "/rules", "/bin/promtool") == [
        {
            "dest": f"/rules/{name}.yml",
            "template": f"rules/{name}.yml.j2",
            "validate": "/bin/promtool check rules %s",
        }
        for name in subjects
    ]


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"lag_warning_seconds": 5, "lag_critical_seconds": 30}, []),
        (
            {"lag_warning_seconds": 5, "lag_critical_seconds": 5},
            ["to be more than prometheus_alert_db_lag_warning_seconds"],
        ),
        ({"disk_free_warning_percent": 10, "disk_free_critical_percent": 5}, []),
        (
            {"disk_free_warning_percent": 5, "disk_free_critical_percent": 10},
            ["to be less than prometheus_alert_db_disk_free"],
        ),
        ({"disk_free_warning_bytes": 5, "disk_free_critical_percent": 10}, []),
        ({"cpu_warning_percent": 101}, ["no more than 100 percent"]),
        ({"cpu_warning_times": 101, "rate_warning_percent": "99.5"}, []),
        ({"lag_warning_seconds": 0}, ["is 0, but has to be more than 0"]),
        ({"lag_warning_seconds": "many"}, []),
        ({"lag_warning_seconds": -1, "cpu_warning_percent": 500}, ["500", "-1"]),
    ],
)
def test_thresholds(variables: dict[str, Any], words: list[str]) -> None:
    found = threshold_problems({f"prometheus_alert_db_{name}": value for name, value in variables.items()})
    assert len(found) == len(words), found
    for sentence, word in zip(found, words, strict=True):
        assert word in sentence


def test_other_variables_are_no_thresholds() -> None:
    assert (
        threshold_problems({"prometheus_alert_teams": {}, "redis_lag_warning_seconds": -1, "prometheus_retention": 0})
        == []
    )
