"""`meshcar inject` (`kube-inject`) and `meshcar uninject`: sidecars into Kubernetes YAML, and out of it."""

import argparse
import sys
from pathlib import Path

from meshcar import __version__
from meshcar.errors import SettingsError
from meshcar.manifests.inject import Outcome, inject, uninject
from meshcar.manifests.template import Template, read_template
from meshcar.manifests.variables import Defaults

IMAGE = f"meshcar:{__version__}"
TEMPLATE = Path(__file__).with_name("sidecar.yaml")


def add_parser(subparsers: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds the two verbs, one of them under two names."""
    for name, text in (("inject", "put the sidecar into Kubernetes YAML"), ("kube-inject", "inject, as istioctl's users call it")):
        parser = subparsers.add_parser(name, help=text, description=__doc__)
        _add_files(parser)
        _add_choices(parser)
    _add_files(subparsers.add_parser("uninject", help="take the sidecar out of Kubernetes YAML", description=__doc__))


def _add_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-f", "--filename", metavar="FILE", help="YAML of any number of documents; - is stdin")
    parser.add_argument("-o", "--output", metavar="FILE", help="where it goes, instead of stdout")


def _add_choices(parser: argparse.ArgumentParser) -> None:
    flag = parser.add_argument
    flag("--image", default=IMAGE, help="of both containers (%(default)s)")
    flag("--certs-secret", metavar="NAME", help="Secret with cert-chain.pem, key.pem and root-cert.pem (meshcar.<service account>)")
    flag("--rules-configmap", metavar="NAME", default="meshcar-rules", help="ConfigMap with the rules (%(default)s)")
    flag("--trust-domain", metavar="NAME", default="cluster.local", help="the mesh's (%(default)s)")
    flag("--classic", action="store_true", help="an ordinary container, for clusters before 1.29, instead of a native sidecar")
    flag("--hold", action="store_true", help="with --classic: start the application once the sidecar is ready")
    flag("--template", metavar="FILE", type=Path, default=TEMPLATE, help="what is injected, instead of the default")
    flag("--print-template", action="store_true", help="print the template, for a copy to change, and do nothing else")


def run(args: argparse.Namespace) -> int:
    """0 done, 1 problems; then nothing goes to stdout. Raises SettingsError for a file that cannot be read or written."""
    if args.verb == "uninject":
        return _tell(uninject(_text(args.filename)), args)
    template = _read(args.template)
    if args.print_template:
        sys.stdout.write(template)
        return 0
    defaults = Defaults(
        image=args.image, certs_secret=args.certs_secret, rules_configmap=args.rules_configmap, trust_domain=args.trust_domain,
        native=not args.classic, hold=args.hold,
    )  # fmt: skip
    return _tell(inject(_text(args.filename), _template(args.template, template), defaults), args)


def _tell(outcome: Outcome, args: argparse.Namespace) -> int:
    name = "stdin" if args.filename == "-" else args.filename
    for note in outcome.notes:
        print(f"{name}: {note}", file=sys.stderr)
    for problem in outcome.problems:
        print(f"{name}:{problem}", file=sys.stderr)
    if outcome.problems:
        return 1
    if args.output is None or args.output == "-":
        sys.stdout.write(outcome.text)
        return 0
    try:
        Path(args.output).write_text(outcome.text)
    except OSError as e:
        raise SettingsError(f"{args.output}: {e.strerror}") from None
    return 0


def _text(name: str | None) -> str:
    if name is None:
        raise SettingsError("-f FILE is needed; - is stdin")
    if name != "-":
        return _read(Path(name))
    try:
        return sys.stdin.buffer.read().decode()
    except UnicodeDecodeError as e:
        raise SettingsError(f"stdin: {e}") from None


def _template(name: Path, text: str) -> Template:
    try:
        return read_template(text)
    except ValueError as e:
        raise SettingsError(f"{name}: {e}") from None


def _read(name: Path) -> str:
    try:
        return name.read_bytes().decode()
    except (OSError, UnicodeDecodeError) as e:
        raise SettingsError(f"{name}: {getattr(e, 'strerror', None) or e}") from None
