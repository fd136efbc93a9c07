"""One request, followed through logs, metrics and traces."""

from __future__ import annotations

import json
from typing import Any
from urllib.error import HTTPError, URLError

from ansible.module_utils.basic import AnsibleModule
from ansible.module_utils.urls import open_url
from ansible_collections.nano.ops.plugins.module_utils import follow

DOCUMENTATION = r"""
module: follow
short_description: Show a request's metric series, log lines and trace by one id
version_added: 0.1.0
author: nano.ops contributors
description:
  - Looks for the id in Loki, takes the traces that the lines name from Jaeger, and finds the series that hold them as
    exemplars in Prometheus. Changes nothing.
options:
  id:
    description: Request id (the header X-Request-ID of the answer), correlation id or trace id.
    type: str
    required: true
  loki:
    description: URL of Loki.
    type: str
    default: ""
  jaeger:
    description: URL of Jaeger's pages, with their base path.
    type: str
    default: ""
  prometheus:
    description: URL of Prometheus.
    type: str
    default: ""
  hours:
    description: How far back log lines are looked for, in hours.
    type: float
    default: 24
  tls_directory:
    description: Folder of C(ca.crt), C(host.crt) and C(host.key).
    type: path
    default: /etc/nano/tls
attributes:
  check_mode:
    description: Only looks.
    support: full
  diff_mode:
    description: Only looks.
    support: none
"""

EXAMPLES = r"""
- name: Follow a request
  nano.ops.follow:
    id: traffic-6b0593ac69ad-000346
    loki: https://10.0.0.10:3100
    jaeger: https://10.0.0.10:16686/jaeger
    prometheus: https://10.0.0.10:9090
"""

RETURN = r"""
tree:
  description: What was found, as text.
  returned: success
  type: str
lines:
  description: Log lines with their fields, by time.
  returned: success
  type: list
  elements: dict
traces:
  description: Trace id to its spans.
  returned: success
  type: dict
series:
  description: Series that hold the request as an exemplar.
  returned: success
  type: list
  elements: dict
counters:
  description: Counters that the request was counted in.
  returned: success
  type: list
  elements: dict
"""


def main() -> None:
    """Follow a request."""
    module = AnsibleModule(
        argument_spec={
            "id": {"type": "str", "required": True},
            "loki": {"type": "str", "default": ""},
            "jaeger": {"type": "str", "default": ""},
            "prometheus": {"type": "str", "default": ""},
            "hours": {"type": "float", "default": 24},
            "tls_directory": {"type": "path", "default": "/etc/nano/tls"},
        },
        supports_check_mode=True,
    )
    options = module.params
    folder = options["tls_directory"]

    def fetch(url: str) -> Any:
        try:
            answer = open_url(
                url,
                timeout=30,
                ca_path=f"{folder}/ca.crt",
                client_cert=f"{folder}/host.crt",
                client_key=f"{folder}/host.key",
                use_proxy=False,
            )
            return json.load(answer)
        except HTTPError as error:
            # Jaeger's word for a trace that it has not kept.
            if error.code == 404:
                return {"data": []}
            said = error.read(300).decode(errors="replace")
            raise follow.FollowError(f"{url.split('?')[0]} answers {error.code}: {said}") from error
        except (URLError, OSError, ValueError) as error:
            raise follow.FollowError(f"{url.split('?')[0]} can't be asked: {error}") from error

    try:
        found = follow.follow(
            fetch,
            options["id"],
            loki=options["loki"],
            jaeger=options["jaeger"],
            prometheus=options["prometheus"],
            since_s=options["hours"] * 3600,
        )
    except follow.FollowError as error:
        module.fail_json(msg=str(error))
    if not found["lines"] and not found["traces"]:
        module.fail_json(
            msg=f"Nothing is known of {options['id']}: no log line of the last {options['hours']:g} h names it. "
            "Lines take up to 10 s to arrive; is it the X-Request-ID of the answer?"
        )
    module.exit_json(changed=False, tree=follow.tree(found), **found)


if __name__ == "__main__":
    main()
