"""Rules of the source tree that no linter checks: folder sizes, package docstrings, circles, citations and wording."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("plugin", "webhooks", "mypages")
CODE = sorted(path for top in (*PACKAGES, "tests", "bench") for path in (ROOT / top).rglob("*.py"))
PRODUCT = [path for path in CODE if path.relative_to(ROOT).parts[0] in PACKAGES]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
MAX_MODULES = 13
MAX_LINES = 320
#: Citations of documents that this repository does not hold.
LOST_CITATION = re.compile(r"\bDESIGN\b(?!\.md)|\b(?:[Ee]ngage|platform) facts\b|\bfacts \d|\blibrary trap|\btrap \d")
CITATION = re.compile(r"docs/[\w/.-]+\.md(?:#[\w-]+)?")
LINK = re.compile(r"\]\(([^)\s]+)\)")
#: Wording that an English-speaking engineer would put another way.
ODD_WORDING = re.compile(
    r"\b(?:anew|at the door|the other side|made sure of|make sure of|nobody vouches|told to stand|stands still"
    r"|mend(?:s|ed|ing)?|gives? back to itself|takes? up again|let go|of the past|tells? whether|tells? that"
    r"|(?<![Tt]here )is no (?!longer|more|such|first|street)[a-z]+"
    r"|is told|are told|was told|in passing)\b"
)


def _slug(heading: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    text = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", lambda match: match.group(1) or "", heading.strip().lower())
    return re.sub(r"[^\w\- ]", "", text).replace(" ", "-")


def _anchors(page: Path) -> set[str]:
    return {_slug(match) for match in re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)}


def _resolves(target: Path, anchor: str) -> bool:
    return target.exists() and (not anchor or anchor in _anchors(target))


def _name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module) -> Iterator[ast.ImportFrom | ast.Import]:
    """Yield a module's imports that are not inside a function; those for type checkers count."""
    todo: list[ast.AST] = [tree]
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            todo += ast.iter_child_nodes(node)


def _graph() -> dict[str, set[str]]:
    modules = {_name(path) for path in PRODUCT}
    graph: dict[str, set[str]] = defaultdict(set)
    for path in PRODUCT:
        for node in _imports(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                for alias in node.names:
                    whole = f"{node.module}.{alias.name}"
                    graph[_name(path)] |= {whole if whole in modules else node.module} & modules
            elif isinstance(node, ast.Import):
                graph[_name(path)] |= {alias.name for alias in node.names} & modules
    return graph


def _circles(graph: dict[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import one another (Tarjan's strongly connected components)."""
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    circles: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in graph.get(module, ()):
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1 or module in graph.get(module, ()):
                circles.append(sorted(group))

    for module in sorted(graph):
        if module not in index:
            visit(module)
    return circles


def test_no_folder_holds_more_than_a_dozen_modules() -> None:
    sizes: dict[str, int] = defaultdict(int)
    for path in PRODUCT:
        if path.name != "__init__.py" and "migrations" not in path.parts:
            sizes[str(path.parent.relative_to(ROOT))] += 1
    assert {folder: size for folder, size in sizes.items() if size > MAX_MODULES} == {}


def test_no_module_is_too_long() -> None:
    lengths = {_name(path): len(path.read_text(encoding="utf-8").splitlines()) for path in PRODUCT}
    assert {module: lines for module, lines in lengths.items() if lines > MAX_LINES} == {}


def test_every_package_says_what_is_in_it_and_what_is_not() -> None:
    bare = []
    for path in PRODUCT:
        if path.name == "__init__.py":
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            if len([line for line in text.splitlines() if line.strip()]) < 2:
                bare.append(_name(path))
    assert bare == []


def test_no_modules_import_one_another_in_a_circle() -> None:
    assert _circles(_graph()) == []


def test_a_circle_would_be_found() -> None:
    assert _circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]


def test_no_citation_leads_out_of_the_repository() -> None:
    lost = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in [*CODE, *PAGES]
        if path != Path(__file__)
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if LOST_CITATION.search(line)
    ]
    assert lost == []


def test_every_citation_in_the_code_resolves() -> None:
    lost = []
    for path in CODE:
        for citation in CITATION.findall(path.read_text(encoding="utf-8")):
            page, _, anchor = citation.partition("#")
            if not _resolves(ROOT / page, anchor):
                lost.append(f"{path.relative_to(ROOT)}: {citation}")
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_resolves(page: Path) -> None:
    lost = []
    for link in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", link):
            continue
        target, _, anchor = link.partition("#")
        if not _resolves((page.parent / target) if target else page, anchor):
            lost.append(link)
    assert lost == []


def test_wording_is_plain() -> None:
    odd = [
        f"{path.relative_to(ROOT)}:{number}: {match.group(0)}"
        for path in [*CODE, *PAGES]
        if path != Path(__file__) and "migrations" not in path.parts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in ODD_WORDING.finditer(line)
    ]
    assert odd == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_path_that_a_page_names_exists(page: Path) -> None:
    named = re.findall(r"`((?:plugin|webhooks|mypages|tests|bench|docs)/[\w./-]+)`", page.read_text(encoding="utf-8"))
    lost = [path for path in named if not (ROOT / path).exists() and not (ROOT / f"{path}.py").exists()]
    assert lost == []
