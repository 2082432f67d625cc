"""Each piece of a worker's state has one owner: no object writes the attributes of another."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import django_tasks_q.worker

pytestmark = pytest.mark.once

WORKER = Path(django_tasks_q.worker.__file__).parent
Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda


def targets(node: ast.AST) -> Iterator[ast.expr]:
    """What a statement assigns to or deletes, each part of a tuple by itself."""
    match node:
        case ast.Assign(targets=found) | ast.Delete(targets=found):
            pending = list(found)
        case ast.AugAssign(target=one) | ast.AnnAssign(target=one) | ast.For(target=one):
            pending = [one]
        case ast.withitem(optional_vars=ast.expr() as one):
            pending = [one]
        case _:
            return
    while pending:
        target = pending.pop()
        if isinstance(target, ast.Tuple | ast.List):
            pending += target.elts
        elif isinstance(target, ast.Starred):
            pending.append(target.value)
        else:
            yield target


def foreign_writes(source: str) -> Iterator[str]:
    """Assignments to attributes of anything but ``self``, as text."""
    for node in ast.walk(ast.parse(source)):
        for target in targets(node):
            attribute = target.value if isinstance(target, ast.Subscript) else target
            if not isinstance(attribute, ast.Attribute):
                continue
            owner = attribute.value
            if not (isinstance(owner, ast.Name) and owner.id in ("self", "cls")):
                yield f"line {node.lineno}: {ast.unparse(target)}"


@pytest.mark.parametrize("path", sorted(WORKER.rglob("*.py")), ids=lambda path: path.stem)
def test_no_object_writes_attributes_of_another(path):
    assert list(foreign_writes(path.read_text())) == []


@pytest.mark.parametrize(
    "statement",
    [
        "pool.has_recovered = False",
        "self.completer.unwritten += [1]",
        "self.lease = self.fetcher.lease = None",
        "a, (self.signals.stops, *child.done) = values",
        "slot.began_at: float = 1.0",
        "del child.pid",
        "child.slots[1] = None",
        "del self.pool.children[1]",
        "for child.key in keys: pass",
    ],
)
def test_such_writes_are_found(statement):
    assert len(list(foreign_writes(statement))) >= 1


@pytest.mark.parametrize(
    "statement", ["self.unwritten += [1]", "self.children[1] = child", "jobs[0] = job", "a, b = 1, 2"]
)
def test_other_writes_are_not(statement):
    assert list(foreign_writes(statement)) == []
