"""Mutants of a Python file: one-place changes inside functions, and the file with one of them.

The names are those of `solidity_mutants.py`: an operator for another, a condition always true or false, a number off by
one, a statement removed, two arguments swapped (ARS), a handler that lets the exception pass (EHR). Code that runs
during import is not mutated: defaults, decorators, annotations, constants; a constant number with an upper-case name is
changed where it is used. Strings and log calls are not mutated.
"""

from __future__ import annotations

import ast
import copy
from collections.abc import Collection, Iterator

from scripts.mutation.solidity_mutants import Mutant

__all__ = ["mutants", "woven"]

_COMPARED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.GtE),
    ast.Gt: (ast.GtE, ast.LtE),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.Mult,
    ast.Pow: ast.Mult,
}
_BITWISE: dict[type[ast.operator], type[ast.operator]] = {
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitAnd,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_CALLED = {"min": "max", "max": "min", "any": "all", "all": "any"}
_NOT_SWAPPED = {"isinstance", "issubclass", "cast", "min", "max"}
_LOGS = {"log", "_log", "logger"}
_ASKS_NOTHING = {"strict", "usedforsecurity"}
"""Keywords that only add a check: `zip(a, b, strict=True)`."""
_SIMPLE = (ast.Expr, ast.Raise, ast.Return, ast.Assign, ast.AugAssign, ast.Delete)


class _Finder(ast.NodeVisitor):
    """Walks the tree of one file."""

    def __init__(self, source: bytes, numbers: Collection[str]) -> None:
        self.source = source
        self.numbers = numbers
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))
        self.found: dict[tuple[int, int, str], tuple[str, str, int, str]] = {}
        self.scope: list[str] = []
        self.functions = 0

    def range(self, node: ast.expr | ast.stmt) -> tuple[int, int]:
        """First byte and the one after the last."""
        last, end = node.end_lineno or node.lineno, node.end_col_offset or 0
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[last - 1] + end

    def add(self, operator: str, node: ast.expr | ast.stmt, new: str, kind: str = "expression") -> None:
        start, end = self.range(node)
        if self.functions and self.source[start:end].decode() != new:
            where = ".".join(self.scope)
            self.found.setdefault((start, end, new), (operator, where, node.lineno, kind))

    def change(self, operator: str, node: ast.expr, **fields: object) -> None:
        """The same expression with other operands."""
        other = copy.copy(node)
        for name, value in fields.items():
            setattr(other, name, value)
        self.add(operator, node, ast.unparse(other))

    # Where code is

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.scope.append(node.name)
        for each in node.body:
            self.visit(each)
        self.scope.pop()

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self.scope.append(node.name)
        self.functions += 1
        for each in node.body:
            self.visit(each)
        self.functions -= 1
        self.scope.pop()

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - named as the parser names the node

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self.visit(node.body)

    def visit_JoinedStr(self, node: ast.JoinedStr) -> None:
        """No mutants inside an f-string: the parser gives no position of its parts."""

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self._left_out(node, node.target)
            self.visit(node.value)

    # Statements

    def visit_Expr(self, node: ast.Expr) -> None:
        called = node.value.func if isinstance(node.value, ast.Call) else None
        if isinstance(called, ast.Attribute) and ast.unparse(called.value) in _LOGS:
            return
        if not isinstance(node.value, ast.Constant):
            self.add("CR", node, "", "statement")
        self.generic_visit(node)

    def visit_Return(self, node: ast.Return) -> None:
        if not (isinstance(node.value, ast.Constant) and node.value.value is None):
            self.add("CR", node, "", "statement")
        self.generic_visit(node)

    def visit_Raise(self, node: ast.Raise) -> None:
        self.add("CR", node, "", "statement")
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self.add("CR", node, "", "statement")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        self._left_out(node, node.targets[0])
        self.generic_visit(node)

    def _left_out(self, node: ast.stmt, target: ast.expr) -> None:
        """An assignment to a name is kept: without it the first use fails. An assignment to anything else may be
        removed."""
        if isinstance(target, ast.Attribute | ast.Subscript):
            self.add("CR", node, "", "statement")

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        other = (_ARITHMETIC | _BITWISE)[type(node.op)]()
        target, value = ast.unparse(node.target), ast.unparse(node.value)
        sign = ast.unparse(ast.BinOp(ast.Name("a"), other, ast.Name("b"))).split()[1]
        self.add("ASOR", node, f"{target} {sign}= ({value})", "plain")
        self.add("ASOR", node, f"{target} = ({value})", "plain")
        self.generic_visit(node)

    def visit_Break(self, node: ast.Break) -> None:
        self.add("LCR", node, "continue", "plain")

    def visit_Continue(self, node: ast.Continue) -> None:
        self.add("LCR", node, "break", "plain")

    def visit_If(self, node: ast.If | ast.IfExp) -> None:
        self.add("MIA", node.test, "True")
        self.add("MIA", node.test, "False")
        self.generic_visit(node)

    visit_IfExp = visit_If  # noqa: N815 - the same

    def visit_While(self, node: ast.While) -> None:
        self.add("MWA", node.test, "False")
        self.generic_visit(node)

    def visit_comprehension(self, node: ast.comprehension) -> None:
        for test in node.ifs:
            self.add("MIA", test, "True")
            self.add("MIA", test, "False")
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        first = node.body[0]
        if isinstance(first, _SIMPLE) and not (isinstance(first, ast.Raise) and first.exc is None):
            start, end = self.range(first)
            self.add("EHR", first, f"raise; {self.source[start:end].decode()}", "plain")
        for each in node.body:
            self.visit(each)

    def visit_Match(self, node: ast.Match) -> None:
        self.visit(node.subject)
        for case in node.cases:  # a pattern is no expression
            for each in (case.guard, *case.body):
                if each is not None:
                    self.visit(each)

    # Expressions

    def visit_Compare(self, node: ast.Compare) -> None:
        for place, sign in enumerate(node.ops):
            for other in _COMPARED[type(sign)]:
                self.change("ROR", node, ops=[*node.ops[:place], other(), *node.ops[place + 1 :]])
        self.generic_visit(node)

    def visit_BinOp(self, node: ast.BinOp) -> None:
        if other := _ARITHMETIC.get(type(node.op)):
            self.change("AOR", node, op=other())
        if changed := _BITWISE.get(type(node.op)):
            self.change("BOR", node, op=changed())
        self.generic_visit(node)

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        self.change("LOR", node, op=ast.Or() if isinstance(node.op, ast.And) else ast.And())
        self.generic_visit(node)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if not isinstance(node.op, ast.UAdd) and not isinstance(node.operand, ast.Constant):
            self.add("UOR", node, ast.unparse(node.operand))
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        called = node.func.id if isinstance(node.func, ast.Name) else ""
        if called in _CALLED:
            self.change("CSR", node, func=ast.Name(_CALLED[called]))
        plain = not any(isinstance(each, ast.Starred) for each in node.args)
        if len(node.args) >= 2 and plain and called not in _NOT_SWAPPED:
            for place in {0, len(node.args) - 2}:
                swapped = list(node.args)
                swapped[place : place + 2] = swapped[place + 1], swapped[place]
                self.change("ARS", node, args=swapped)
        for part in (node.func, *node.args):
            self.visit(part)
        for keyword in node.keywords:
            if keyword.arg not in _ASKS_NOTHING:
                self.visit(keyword.value)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self.add("LIR", node, str(not node.value))
        elif isinstance(node.value, int | float):
            self._off_by_one(node, zero=node.value == 0)

    def visit_Name(self, node: ast.Name) -> None:
        if node.id in self.numbers and isinstance(node.ctx, ast.Load):
            self._off_by_one(node, zero=False)

    def _off_by_one(self, node: ast.expr, *, zero: bool) -> None:
        text = ast.unparse(node)
        self.add("LIR", node, f"{text} + 1")
        if not zero:
            self.add("LIR", node, f"{text} - 1")


def mutants(source: bytes, numbers: Collection[str] = (), first: int = 1) -> list[Mutant]:
    """All mutants of a file, in text order, numbered from `first`; `numbers` are the names of its constant numbers."""
    finder = _Finder(source, numbers)
    finder.visit(ast.parse(source))
    return list(_numbered(finder, source, first))


def _numbered(finder: _Finder, source: bytes, first: int) -> Iterator[Mutant]:
    for number, (key, what) in enumerate(sorted(finder.found.items()), first):
        start, end, new = key
        operator, function, line, kind = what
        old = source[start:end].decode()
        yield Mutant(number, operator, function, line, start, end, old, new, kind)


def woven(source: bytes, mutant: Mutant) -> bytes:
    """The file with one mutant.

    Lines and the outside names of a function stay: a removed statement stays in the file as unreachable code.
    """
    old, new = mutant.old, mutant.new
    if mutant.kind == "expression":
        new = f"(({old}) if False else ({new}))"
    elif mutant.kind == "statement":
        new = f"if False: {old}"
    elif missing := old.count("\n") - new.count("\n"):
        new = new[:-1] + "\n" * missing + new[-1]  # inside its parentheses
    return source[: mutant.start] + new.encode() + source[mutant.end :]
