"""Documentation of the action plugin of the same name, which does the work on the controller."""

from __future__ import annotations

DOCUMENTATION = r"""
module: report
short_description: Keep the report of a procedure
version_added: 0.1.0
author: nano.ops contributors
description:
  - Keeps on the controller what a procedure does and measures, as JSON, Markdown and an HTML page with a timeline. All
    of it is written anew at each step, so that a run which dies leaves a report that says how far it came and what to
    type next.
  - Names of files are C(<procedure>-<UTC time>). Returns the figures as metrics; a task of the playbook puts them on a
    host.
  - Facts, notes and errors are shown as they are. Give it no secrets.
options:
  state:
    description:
      - C(begun) begins a report and returns its path; C(phase) ends the phase before and begins one; C(noted) adds
        what was found; C(ended) ends it.
    type: str
    choices: [begun, phase, noted, ended]
    required: true
  procedure:
    description: Name of the playbook, for C(begun).
    type: str
  subject:
    description: What it is done to, for C(begun).
    type: str
  phases:
    description: Names of all phases in order, for C(begun); what is not reached is told to be not done.
    type: list
    elements: str
  rto_from:
    description: Phase whose beginning begins the time to recover.
    type: str
  rto_until:
    description: Phase whose end ends it.
    type: str
  again:
    description: Command that goes on after a failure.
    type: str
  directory:
    description: Folder of the reports; the inventory's name with C(.reports) by default.
    type: path
  path:
    description: The report, as C(begun) returned it. Empty does nothing.
    type: path
  name:
    description: The phase that begins.
    type: str
  facts:
    description: Name to value.
    type: dict
  measures:
    description: Name to number; C(rpo_seconds) and C(rto_seconds) are known, others are shown by their names.
    type: dict
  objectives:
    description: Name of a measure to the most that it may be.
    type: dict
  notes:
    description: Sentences that should be read.
    type: list
    elements: str
  tables:
    description: Further tables, each with C(title), C(head) and C(rows).
    type: list
    elements: dict
  outcome:
    description: How it ended.
    type: str
    choices: [succeeded, failed]
  error:
    description: What went wrong.
    type: str
  next:
    description: What to type next.
    type: list
    elements: str
attributes:
  check_mode:
    description: Writes nothing.
    support: full
  diff_mode:
    description: There is nothing to compare.
    support: none
"""

EXAMPLES = r"""
- name: Begin the report
  nano.ops.report:
    state: begun
    procedure: restore
    subject: db1
    phases: [Look, Copy, Verify]
  register: report

- name: Note what was measured
  nano.ops.report:
    state: noted
    path: "{{ report.path }}"
    measures: {rpo_seconds: 3.5}
    objectives: {rpo_seconds: 900}
"""

RETURN = r"""
path:
  description: The report's JSON file on the controller.
  returned: success
  type: str
metrics:
  description: The report's figures for node_exporter's textfile collector.
  returned: success
  type: str
summary:
  description: The report in a few lines.
  returned: success
  type: list
  elements: str
"""
