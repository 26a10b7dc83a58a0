"""The two distributions: the plugin, which production installs, and the sandbox with its demonstration."""

import shutil
import subprocess
import sys
from importlib.abc import MetaPathFinder
from pathlib import Path
from zipfile import ZipFile

import pytest
from click.testing import CliRunner

from plugin.cli import main

ROOT = Path(__file__).parent.parent
SOURCES = ("plugin", "webhooks", "mypages", "distributions", "pyproject.toml", "README.md", "LICENSE", "manifest.json")
BUILD = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
SANDBOX_FOLDERS = ("plugin/sandbox/", "plugin/demo/")


def build_wheel(project: Path, target: Path) -> set[str]:
    """Build a wheel and return the names of the modules in it."""
    target.mkdir()
    subprocess.run([sys.executable, "-c", BUILD, str(target)], cwd=project, check=True, capture_output=True)
    with ZipFile(next(target.glob("*.whl"))) as wheel:
        return {name for name in wheel.namelist() if name.endswith(".py")}


def test_production_wheel_holds_everything_but_the_sandbox(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in SOURCES:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tree / name)
    plugin = build_wheel(tree, tmp_path / "plugin")
    sandbox = build_wheel(tree / "distributions" / "sandbox", tmp_path / "sandbox")
    assert [name for name in plugin if name.startswith(SANDBOX_FOLDERS)] == []
    assert [name for name in sandbox if not name.startswith(SANDBOX_FOLDERS)] == []
    modules = {path.relative_to(ROOT).as_posix() for top in SOURCES[:3] for path in (ROOT / top).rglob("*.py")}
    assert plugin | sandbox == modules


class WithoutPackage(MetaPathFinder):
    """Makes an import fail as it does where the package is not installed."""

    def __init__(self, package: str) -> None:
        self.package = package

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        if name == self.package:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


@pytest.mark.parametrize(
    ("package", "arguments"), [("plugin.demo", ["demo", "--once"]), ("plugin.sandbox", ["sandbox", "--port", "1"])]
)
def test_command_without_the_sandbox_says_what_to_install(
    package: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name == package or name.startswith(f"{package}.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [WithoutPackage(package), *sys.meta_path])
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == 2
    assert "pip install 'engage-shop-plugin[sandbox]'" in done.output
    listed = CliRunner().invoke(main, ["--help"])
    assert listed.exit_code == 0
    assert arguments[0] in listed.output
