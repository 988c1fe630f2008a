"Installs the package `carat` from settings.ini, the one place that holds its metadata."

from configparser import ConfigParser
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

here = Path(__file__).parent
ini = ConfigParser(delimiters=["="], interpolation=None)
ini.read(here / "settings.ini", encoding="utf-8")
cfg = ini["DEFAULT"]
package = cfg["lib_path"]
DATA = dict(recorded=("results", ["*.json"]), declared=("bench/studies", ["*.toml"]))


class WithoutIndex(build_py):
    "Leaves out `_modidx.py`, which nbdev needs in a checkout and nobody needs elsewhere."

    def find_package_modules(self, package, package_dir):
        found = super().find_package_modules(package, package_dir)
        return [module for module in found if module[1] != "_modidx"]


setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    long_description=(here / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author=cfg["author"],
    url=None if ".example" in cfg["git_url"] else cfg["git_url"],  # nobody owns a placeholder
    keywords=cfg["keywords"],
    license="Apache-2.0",
    python_requires=">=" + cfg["min_python"],
    # recorded results and studies lie beside the package in a checkout and within it where it is
    # installed
    packages=[*find_packages(include=[package, f"{package}.*"]), *(f"{package}.{k}" for k in DATA)],
    package_dir={f"{package}.{k}": folder for k, (folder, _) in DATA.items()},
    package_data={package: ["py.typed"], **{f"{package}.{k}": v for k, (_, v) in DATA.items()}},
    install_requires=cfg["requirements"].split(),
    extras_require={k: cfg[f"{k}_requirements"].split() for k in ("dev", "cluster")},
    entry_points={"console_scripts": cfg["console_scripts"].split("\n")},
    cmdclass={"build_py": WithoutIndex},
)
