"""What README and docs name exists: links, commands, playbooks, roles, variables, ports, error texts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# Those that lab.docs and `make bench` write are theirs to keep true.
GENERATED = {"variables.md", "benchmarks.md"}
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name not in GENERATED)]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FOLDERS = ("docs", "inventories", "lab", "molecule", "playbooks", "plugins", "roles", "tests")


@pytest.fixture(params=PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def page(request: pytest.FixtureRequest) -> Path:
    return request.param


def code(text: str) -> tuple[list[str], list[str]]:
    """Return what stands in backticks, and the lines of indented blocks."""
    blocks = re.findall(r"^ {4,}(\S.*)$", text, re.M)
    prose = re.sub(r"^ {4,}\S.*$", "", text, flags=re.M)
    return [" ".join(found.split()) for found in re.findall(r"`([^`]+)`", prose)], blocks


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as the usual Markdown viewers make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^a-z0-9 _-]", "", heading.lower()).replace(" ", "-") for heading in headings}


def variables() -> set[str]:
    """Return the public variables of all roles, and those of the parts that playbooks include."""
    found: set[str] = set()
    for path in (ROOT / "roles").glob("*/meta/argument_specs.yml"):
        for part in yaml.safe_load(path.read_text())["argument_specs"].values():
            found |= set(part["options"] or {})
    return found


def roles() -> set[str]:
    return {path.name for path in (ROOT / "roles").iterdir() if path.is_dir()}


def stems(folder: str) -> set[str]:
    return {path.stem for path in (ROOT / folder).glob("*.[py]*")}


def ports() -> dict[str, dict]:
    return yaml.safe_load((ROOT / "roles/host/vars/main.yml").read_text())["__host_ports"]


def test_every_link_resolves(page: Path) -> None:
    broken = []
    for target in LINK.findall(page.read_text()):
        if re.match(r"https?:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        if not place.exists() or (anchor and anchor not in anchors(place.read_text())):
            broken.append(target)
    assert broken == []


def test_every_make_target_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    inline, blocks = code(page.read_text())
    matches = [re.match(r"(?:\$ |[A-Z_]+=\S+ )?make ([a-z-]+)", text) for text in inline + blocks]
    named = {match.group(1) for match in matches if match}
    assert named - targets == set()


def test_every_playbook_and_name_of_the_collection_exists(page: Path) -> None:
    text = page.read_text()
    assert {name for name in re.findall(r"playbooks/(\w+)\.yml", text)} - stems("playbooks") == set()
    known = roles() | stems("playbooks")
    for folder in ("modules", "filter", "test", "action"):
        known |= stems(f"plugins/{folder}")
    assert set(re.findall(r"\bnano\.ops\.([a-z]\w+)", text)) - known == set()
    assert set(re.findall(r"\broles?/(\w+)", text)) - roles() == set()


def test_every_variable_exists(page: Path) -> None:
    inline, blocks = code(page.read_text())
    # Words that only look like variables: modules, programs, ports and playbooks share the roles' prefixes.
    others = roles() | stems("plugins/modules") | stems("plugins/filter") | stems("playbooks") | set(ports())
    prefix = "|".join(sorted(roles(), key=len, reverse=True))
    named = {name for text in inline + blocks for name in re.findall(rf"(?<![\w./-])(?:{prefix})_[a-z0-9_]+\b", text)}
    # A mistake that troubleshooting.md shows.
    named -= {"host_memory_min_md"}
    # MinIO's own figures.
    named -= {name for name in named if name.startswith(("minio_bucket_", "minio_node_"))}
    unknown = named - variables() - others - {"postgresql_role", "postgresql_attach"}
    assert unknown == set()


def test_every_file_of_the_tree_exists(page: Path) -> None:
    inline, _ = code(page.read_text())
    named = [text for text in inline if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]+", text)]
    # The copy that the reader makes, and a folder that is an example.
    named = [text for text in named if not text.startswith("inventories/production")]
    assert [text for text in named if not (ROOT / text).exists()] == []


def test_readme_is_short_and_shows_the_result_before_the_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.splitlines()) < 200
    assert text.index("The lab is up after") < text.index("## The two commands")


def test_readmes_test_command_is_what_ci_runs() -> None:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"^ {4}(\S.*?) +# the test command", readme, re.M)
    assert found, "README names no line as the test command"
    script = (ROOT / ".ci/run").read_text()
    commands = [line for line in script.splitlines() if line and not line.startswith(("#", "set ", "cd "))]
    assert commands == [f"exec {found.group(1)} </dev/null"]


def test_table_of_ports_is_the_firewalls() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\w+) \| ([\w, ]+) \| ([\w, ]+) \|$", text, re.M)
    shown = {
        name: {"port": int(port), "to": to.split(", "), "from": users.split(", ")} for port, name, to, users in rows
    }
    assert shown == {name: {key: entry[key] for key in ("port", "to", "from")} for name, entry in ports().items()}
    assert [int(row[0]) for row in rows] == sorted(int(row[0]) for row in rows)


def test_table_of_groups_is_what_the_check_knows() -> None:
    from ansible_collections.nano.ops.plugins.plugin_utils.inventory_check import ROLES_OF_GROUPS

    text = (ROOT / "docs/architecture.md").read_text()
    table = text[text.index("| group | what its members get |") :].split("\n\n", 1)[0]
    shown = {name for row in table.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    assert set(ROLES_OF_GROUPS) <= shown


SAYINGS = [
    " in the inventory, nothing was changed",
    "cannot be computed (",
    "make it with playbooks/secrets.yml",
    "has no such variable",
    "did you mean ",
    "This host cannot carry the platform yet: ",
    "use a larger host or lower host_memory_min_mb",
    "make room or lower host_disk_free_min_mb",
    "is this the vault that the CA was made with?",
    "bring it back from a backup",
    "cannot fetch ",
    "use https or file; over ",
    "anybody could change it",
    "checksum mismatch, nothing was changed: ",
    "does not serve: ",
    "ends at every start",
    "was put back and ",
    "is refused by its checker, nothing was written",
    ", and what runs goes on as before: ",
    "each hold the data of a primary, nothing was changed",
    "is empty, but ",
    "could not be looked at",
    "it cannot be decrypted",
    "holds the backups of another cluster, nothing was changed",
    "no member of group postgresql serves as primary",
    "an engine runs but refuses this user",
    "can be neither downloaded ",
    "no backup is from before ",
    "the archive ends before the target ",
    "is missing in every repository",
    "is not the one that it was made with",
    "is of another cluster (system identifier ",
    "recovery did not end: ",
    "but the archive has WAL until segment ",
    "cannot be reached: if it lives, it may be the primary",
    "MiB are needed beside the old data",
    "the copy was ended from outside",
]


@pytest.mark.parametrize("saying", SAYINGS)
def test_error_texts_are_the_codes_own(saying: str) -> None:
    sources = [*(ROOT / "plugins").rglob("*.py"), *(ROOT / "lab").glob("*.py")]
    # Texts run over several lines of source.
    text = "\n".join(re.sub(r'"\s*\n\s*f?"', "", path.read_text()) for path in sources)
    page = " ".join((ROOT / "docs/troubleshooting.md").read_text().split())
    assert saying in text, f"the code no longer says: {saying}"
    assert saying.strip() in page, f"troubleshooting.md does not show: {saying}"


def test_page_of_failures_names_tests_and_alerts_that_there_are() -> None:
    text = (ROOT / "docs/failures.md").read_text()
    sources = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    tests = set(re.findall(r"`(test_\w+)`", text))
    assert len(tests) > 40
    assert sorted(name for name in tests if f"def {name}(" not in sources) == []
    alerts = set(re.findall(r"\b((?:Backup|ObjectStore)[A-Z]\w+)\b", text))
    assert sorted(name for name in alerts if not (ROOT / f"docs/runbooks/{name}.md").is_file()) == []
