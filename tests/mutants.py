"""Mutants of a module: its source with one small change each, as a careless edit might make it."""

from __future__ import annotations

import ast
import copy
import types
from collections.abc import Iterator

_SWAPPED: dict[type, type] = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.And: ast.Or, ast.Or: ast.And,
}  # fmt: skip
_NAMES = {"max": "min", "min": "max", "popleft": "pop", "append": "appendleft"}


def mutants_of(module: types.ModuleType) -> Iterator[tuple[str, types.ModuleType]]:
    """Yield each mutant with its place: the function, the changed line, and what was done."""
    with open(module.__file__) as file:  # noqa: PTH123
        source = file.read()
    tree, lines = ast.parse(source), source.splitlines()
    for function in [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]:
        for node in _nodes(function):
            for what, change in _changes(node):
                mutated = copy.deepcopy(tree)
                twin = _twin(tree, mutated, node)
                change(twin)
                name = f"{function.name}: {lines[node.lineno - 1].strip()} ({what})"
                made = types.ModuleType(module.__name__)
                made.__package__ = module.__package__
                code = compile(ast.fix_missing_locations(mutated), module.__file__, "exec")
                # Dataclasses look their module up.
                exec(code, made.__dict__)
                yield name, made


def _nodes(function: ast.FunctionDef) -> Iterator[ast.AST]:
    """Return the nodes of a function's body, without its docstring and what it only annotates."""
    for statement in function.body:
        if not (isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)):
            yield from ast.walk(statement)


def _twin(tree: ast.AST, copied: ast.AST, node: ast.AST) -> ast.AST:
    return next(twin for one, twin in zip(ast.walk(tree), ast.walk(copied), strict=True) if one is node)


def _changes(node: ast.AST) -> Iterator[tuple[str, object]]:
    match node:
        case ast.Compare(ops=[op, *_]) if type(op) in _SWAPPED:
            yield "comparison", lambda twin: twin.ops.__setitem__(0, _SWAPPED[type(twin.ops[0])]())
        case ast.BinOp(op=op) | ast.BoolOp(op=op) | ast.AugAssign(op=op) if type(op) in _SWAPPED:
            yield "operator", lambda twin: setattr(twin, "op", _SWAPPED[type(twin.op)]())
    match node:
        case ast.Constant(value=bool()):
            yield "constant", lambda twin: setattr(twin, "value", not twin.value)
        case ast.Constant(value=int()):
            yield "constant", lambda twin: setattr(twin, "value", twin.value + 1)
        case ast.If() | ast.While() | ast.IfExp():
            yield "negated", lambda twin: setattr(twin, "test", ast.UnaryOp(ast.Not(), twin.test))
        case ast.Expr() | ast.Assign() | ast.AugAssign() | ast.Delete() | ast.Break() | ast.Raise():
            yield "deleted", _delete
        case ast.Return(value=ast.AST() as value) if not (
            isinstance(value, ast.Constant) and not value.value  # as good as None
        ):
            yield "returns None", lambda twin: setattr(twin, "value", ast.Constant(None))
        case ast.Name(id=name) if name in _NAMES:
            yield "name", lambda twin: setattr(twin, "id", _NAMES[twin.id])
        case ast.Attribute(attr=name) if name in _NAMES:
            yield "name", lambda twin: setattr(twin, "attr", _NAMES[twin.attr])


def _delete(twin: ast.AST) -> None:
    twin.__class__ = ast.Pass
    for field in list(vars(twin)):
        if field not in ("lineno", "col_offset", "end_lineno", "end_col_offset"):
            delattr(twin, field)
