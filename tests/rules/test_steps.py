"""Work that can pause."""

from meshcar.rules.compile import compile_steps
from meshcar.rules.read import read, read_steps
from meshcar.rules.steps import Steps, finish
from meshcar.rules.workload import Workload
from tests.rules.conftest import MESH, virtual_service


def test_finish() -> None:
    """The result is what the work returns, however often it pauses."""

    def work() -> Steps[int]:
        yield
        yield
        return 7

    assert finish(work()) == 7


def test_pauses_grow_with_the_rules() -> None:
    """Reading and compiling pause at least once for each document, so no slice grows with their number."""
    rule = "[{route: [{destination: {host: httpbin}}]}]"
    many = "\n---\n".join([MESH, *(virtual_service(rule, f"[h{n}.example]", f"n{n}") for n in range(50))])
    found = read(many, "rules.yaml").resources
    assert sum(1 for _ in read_steps(many, "rules.yaml")) >= len(found)
    assert sum(1 for _ in compile_steps(found, Workload(), 1)) >= 2 * len(found)
