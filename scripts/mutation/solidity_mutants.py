"""Mutants of a Solidity file: one-place changes, and the file with all of them behind switches.

`mutants` reads the compiler's syntax tree and lists one-place changes: an operator for another, a condition always true
or false, a number off by one, a statement or a modifier removed. The names are slither-mutate's. (Its mutants are not
used: it cuts an expression at the first operator sign, so most of its mutants of `a - b - c` do not compile, and it
compiles every mutant alone. Its RR, every statement replaced by a revert, is left out: it tests coverage, which the
removal of the same statement tests as well.)

`schema` writes the file with every mutant behind a switch, `_mutant(17) ? a - b : a + b`, where `_mutant` compares with
one constant, `SENTINEL`. So all mutants are compiled at once, and a mutant is switched on by its number in place of the
constant in the compiled code; number 0 is the original. Modifiers and assembly have their own kinds of switches, with
helpers in their contract or block. A mutant that fits behind no switch is `alone`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["SENTINEL", "Mutant", "misfits", "mutants", "mutate_alone", "schema"]

Node = dict[str, Any]

SENTINEL = "b5c1f0d2a7e94c3688d1f7a2e0c95b64d3a8170e6f92c4b5810da7e3965cf21b"
"""The constant of `_mutant`, 64 hexadecimal digits: no contract contains it by chance."""

_ARITHMETIC = {"+": "-", "-": "+", "*": "/", "/": "*", "%": "*", "**": "*"}
_BITWISE = {"&": "|", "|": "&", "^": "&", "<<": ">>", ">>": "<<"}
_RELATIONAL = {
    "<": ("<=", ">="),
    ">": (">=", "<="),
    "<=": ("<", ">"),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
}
_LOGICAL = {"&&": "||", "||": "&&"}
_ASSIGNED = {
    "+=": ("-=", "="),
    "-=": ("+=", "="),
    "*=": ("=",),
    "/=": ("=",),
    "|=": ("=", "&="),
    "&=": ("=", "|="),
}
_CALLED = {
    "min": "max",
    "max": "min",
    "saturatingAdd": "saturatingSub",
    "saturatingSub": "saturatingAdd",
}
_YUL = {
    "add": "sub", "sub": "add", "mul": "div", "div": "mul", "and": "or", "or": "and", "gt": "lt", "lt": "gt", "eq": "xor",
    "shl": "shr", "shr": "shl",
}  # fmt: skip
_MODIFIERS = {
    "restricted": """if (!_mutant(@)) _checkCanCall(msg.sender, msg.data);
        _;""",
    "guarded": """bool guarded_@ = !_mutant(@);
        (uint256 refused_@, uint256 done_@) = (#);
        bytes32 doing_@ = DOING;
        uint256 flags_@;
        assembly ("memory-safe") { flags_@ := tload(doing_@) }
        if (guarded_@ && flags_@ & LOCK != 0) revert ReentrancyGuardReentrantCall();
        if (guarded_@ && flags_@ & refused_@ != 0) revert SameTransaction();
        uint256 lock_@ = LOCK;
        if (guarded_@) { assembly ("memory-safe") { tstore(doing_@, or(flags_@, lock_@)) } }
        _;
        if (guarded_@) { assembly ("memory-safe") { tstore(doing_@, or(flags_@, done_@)) } }""",
}
"""Body of OpenZeppelin's and the vault's modifiers, unless mutant @ is switched on; # are the arguments."""
_ONLY_OF_MODIFIERS = {"_refuse"}
"""Functions that the inserted modifier bodies replace: mutants in them could never be switched on."""
_INTEGER = re.compile(r"u?int\d+")
_STATEMENTS = {"ExpressionStatement", "EmitStatement", "RevertStatement", "Return"}


@dataclass(frozen=True)
class Mutant:
    """One change of one file: bytes `start` to `end` become `new`."""

    number: int
    operator: str
    function: str
    line: int
    start: int
    end: int
    old: str
    new: str
    kind: str = "expression"
    """expression, statement, modifier, yul-call, yul-number, yul-statement, or alone"""
    cast: str = ""
    """For a number: its type in the expression."""
    scope: int = -1
    """For a modifier or a call in assembly: position of its helper."""

    @property
    def alone(self) -> bool:
        """Whether it fits behind no switch."""
        return self.kind == "alone"

    @property
    def name(self) -> str:
        """Name in reports; unique within its file."""
        old, new = (" ".join(text.split()) for text in (self.old, self.new))
        return f"{self.function}:{self.line}: {self.operator} `{old}` -> `{new}`"


def _only_names(node: Node) -> bool:
    """Whether a statement only names parameters, which the ABI shows."""
    expression = node.get("expression") or {}
    parts = [expression, *expression.get("components", [])]
    return node["nodeType"] == "ExpressionStatement" and all(
        part["nodeType"] in {"Identifier", "TupleExpression"} for part in parts
    )


@dataclass(frozen=True)
class _Change:
    operator: str
    start: int
    end: int
    new: str
    kind: str
    cast: str
    scope: int


class _Finder:
    """Walks the tree of one file."""

    def __init__(self, source: bytes) -> None:
        self.source = source
        self.found: list[tuple[str, _Change]] = []
        self.function = ""
        self.casts: dict[int, str] = {}
        self.scope = -1

    def text(self, node: Node) -> str:
        start, end = _range(node)
        return self.source[start:end].decode()

    def add(self, operator: str, node: Node, new: str, kind: str = "expression", cast: str = "") -> None:
        start, end = _range(node)
        if self.function in _ONLY_OF_MODIFIERS:
            # Solidity has no empty statement; a number does nothing as well.
            new, kind = ("0" if kind == "statement" else new), "alone"
        if kind == "statement" and self.source[end - 1 : end] == b";":
            end -= 1  # the compiler counts the semicolon of an empty return, and of nothing else
        self.found.append((self.function, _Change(operator, start, end, new, kind, cast, self.scope)))

    def expect(self, node: Node | None, type_: str) -> None:
        """Note the type of a number in its expression."""
        if node is not None and node["nodeType"] == "Literal" and _INTEGER.fullmatch(type_):
            self.casts[node["id"]] = type_

    def visit(self, node: Any) -> None:
        """Note every change of this node, then of its children."""
        if isinstance(node, list):
            for each in node:
                self.visit(each)
            return
        if not isinstance(node, dict) or "nodeType" not in node:
            return
        kind = node["nodeType"]
        if kind == "FunctionDefinition":
            self._function(node)
            return
        if not self.function:
            self._children(node)
            return
        if kind == "InlineAssembly":
            contract, self.scope = self.scope, _range(node["AST"])[0] + 1
            self._assembly(node["AST"])
            self.scope = contract
            return
        if kind == "ForStatement":
            # What steps the loop has no semicolon, and is only an expression to us.
            self.visit([node["initializationExpression"], node["condition"], node["body"]])
            if node["loopExpression"] is not None:
                self.visit(node["loopExpression"]["expression"])
            if node["condition"] is not None:
                self.add("MWA", node["condition"], "false")
            return
        if kind in _STATEMENTS and not _only_names(node):
            self.add("CR", node, "", "statement")
        method = getattr(self, f"_{kind}", None)
        if method is not None:
            method(node)
        self._children(node)

    def _children(self, node: Node) -> None:
        for name, child in node.items():
            if name not in {"documentation", "typeName", "typeDescriptions", "overrides"}:
                self.visit(child)

    def _function(self, node: Node) -> None:
        self.function = node["name"] or node["kind"]
        for modifier in node["modifiers"]:
            if modifier["kind"] == "modifierInvocation":
                known = modifier["modifierName"]["name"] in _MODIFIERS
                self.add("FHR", modifier, "", "modifier" if known else "alone")
        self.visit(node["body"])
        self.function = ""

    def _BinaryOperation(self, node: Node) -> None:  # noqa: N802 - named as the compiler names the node
        if node["typeDescriptions"]["typeString"].startswith(("int_const", "rational_const")):
            return
        sign = node["operator"]
        if sign not in {"<<", ">>", "**"}:
            for side in ("leftExpression", "rightExpression"):
                self.expect(node[side], node["commonType"]["typeString"])
        left, right = self.text(node["leftExpression"]), self.text(node["rightExpression"])
        others: list[tuple[str, str]] = [("ROR", other) for other in _RELATIONAL.get(sign, ())]
        others += [("AOR", _ARITHMETIC[sign])] if sign in _ARITHMETIC else []
        others += [("BOR", _BITWISE[sign])] if sign in _BITWISE else []
        others += [("LOR", _LOGICAL[sign])] if sign in _LOGICAL else []
        for operator, other in others:
            # Parentheses keep the tree as it is, whatever binds tighter: `a * b + c` becomes `(a * b) * (c)`.
            self.add(operator, node, f"({left}) {other} ({right})")

    def _UnaryOperation(self, node: Node) -> None:  # noqa: N802 - the same
        sign, operand = node["operator"], self.text(node["subExpression"])
        if sign in {"++", "--"}:
            other = "--" if sign == "++" else "++"
            self.add("UOR", node, f"{other}{operand}" if node["prefix"] else f"{operand}{other}")
        elif sign in {"!", "-", "~"} and not node["typeDescriptions"]["typeString"].startswith("int_const"):
            self.add("UOR", node, operand)

    def _Assignment(self, node: Node) -> None:  # noqa: N802 - the same
        self.expect(node["rightHandSide"], node["leftHandSide"]["typeDescriptions"]["typeString"])
        left, right = self.text(node["leftHandSide"]), self.text(node["rightHandSide"])
        for other in _ASSIGNED.get(node["operator"], ()):
            self.add("ASOR", node, f"{left} {other} {right}")

    def _IfStatement(self, node: Node) -> None:  # noqa: N802 - the same
        self.add("MIA", node["condition"], "true")
        self.add("MIA", node["condition"], "false")

    def _Conditional(self, node: Node) -> None:  # noqa: N802 - the same
        for side in ("trueExpression", "falseExpression"):
            self.expect(node[side], node["typeDescriptions"]["typeString"])
        self.add("MIA", node["condition"], "true")
        self.add("MIA", node["condition"], "false")

    def _Literal(self, node: Node) -> None:  # noqa: N802 - the same
        text, cast = self.text(node), self.casts.get(node["id"], "uint256")
        if node["kind"] == "bool":
            self.add("LIR", node, "false" if text == "true" else "true")
        elif node["kind"] == "number" and not node["typeDescriptions"]["typeString"].startswith("address"):
            self.add("LIR", node, f"{text} + 1", cast=cast)
            if node["typeDescriptions"]["typeString"] != "int_const 0":
                self.add("LIR", node, f"{text} - 1", cast=cast)

    def _Identifier(self, node: Node) -> None:  # noqa: N802 - the same
        # A constant: in capitals, and a number.
        name, type_ = node["name"], node["typeDescriptions"]["typeString"]
        if name.isupper() and type_ == "uint256":
            self.add("LIR", node, f"{name} + 1", cast=type_)
            self.add("LIR", node, f"{name} - 1", cast=type_)

    def _MemberAccess(self, node: Node) -> None:  # noqa: N802 - the same
        member, type_ = node["memberName"], node["typeDescriptions"]["typeString"]
        if member in {"Ceil", "Floor"} and type_.startswith("enum"):
            other = "Floor" if member == "Ceil" else "Ceil"
            self.add("CSR", node, self.text(node).removesuffix(member) + other)
        if member == "max" and type_ == "uint128":
            self.add("LIR", node, f"{self.text(node)} - 1", cast=type_)

    def _FunctionCall(self, node: Node) -> None:  # noqa: N802 - the same
        if node["kind"] == "typeConversion" and node["arguments"][0]["nodeType"] == "Literal":
            node["arguments"] = []  # `address(0)` is one word
        called = node["expression"]
        if called["nodeType"] == "MemberAccess" and called["memberName"] in _CALLED:
            head = self.text(called).removesuffix(called["memberName"])
            rest = self.source[_range(called)[1] : _range(node)[1]].decode()
            self.add("CSR", node, head + _CALLED[called["memberName"]] + rest)

    def _assembly(self, node: Any) -> None:
        """Mutants of assembly: another builtin, numbers off by one, statements removed."""
        if isinstance(node, list):
            for each in node:
                self._assembly(each)
        if not isinstance(node, dict):
            return
        kind = node.get("nodeType")
        if kind == "YulFunctionCall" and node["functionName"]["name"] in _YUL:
            self.add("AOR", node["functionName"], _YUL[node["functionName"]["name"]], "yul-call")
        if kind == "YulLiteral" and node["kind"] == "number":
            self.add("LIR", node, str(int(node["value"], 0) + 1), "yul-number")
        if kind == "YulExpressionStatement":
            self.add("CR", node, "", "yul-statement")
        for child in node.values():
            self._assembly(child)


def mutants(source: bytes, tree: Node, first: int = 1, only: str = "") -> list[Mutant]:
    """All mutants of a file, in text order, numbered from `first`; `only` names one of its contracts."""
    finder = _Finder(source)
    for node in tree["nodes"]:
        if node["nodeType"] == "ContractDefinition" and node["name"] == (only or node["name"]):
            # Its members follow its opening brace, which follows its bases.
            heads = [node["nameLocation"], *(base["src"] for base in node["baseContracts"])]
            head_end = max(sum(int(part) for part in head.split(":")[:2]) for head in heads)
            finder.scope = source.index(b"{", head_end) + 1
            finder.visit(node["nodes"])
    made: list[Mutant] = []
    seen = set()
    for function, change in sorted(finder.found, key=lambda found: (found[1].start, found[1].end)):
        key = (change.start, change.end, change.new)
        if key in seen:
            continue
        seen.add(key)
        line = source.count(b"\n", 0, change.start) + 1
        old = source[change.start : change.end].decode()
        made.append(
            Mutant(
                first + len(made), change.operator, function, line, change.start, change.end,
                old, change.new, change.kind, change.cast, change.scope,
            )
        )  # fmt: skip
    return made


def mutate_alone(source: bytes, mutant: Mutant) -> bytes:
    """The file with one mutant."""
    return source[: mutant.start] + mutant.new.encode() + source[mutant.end :]


def schema(source: bytes, found: Sequence[Mutant]) -> bytes:
    """The file with all these mutants behind switches.

    Comments mark the parts: `/*<17*/.../*17>*/` is mutant 17's text, `/*[17,18*/.../*17,18]*/` a place with its
    switches.
    """
    places: dict[tuple[int, int, bool], list[Mutant]] = {}
    for mutant in found:
        leaf = mutant.kind not in {"statement", "yul-statement"}
        places.setdefault((mutant.start, -mutant.end, leaf), []).append(mutant)
    ordered = [places[key] for key in sorted(places)]
    helpers: dict[int, str] = {}
    for mutant in found:
        if helper := _helper(mutant):
            helpers[mutant.scope] = helpers.get(mutant.scope, "") + helper
    switch = f"function _mutant(uint256 number) pure returns (bool) {{\n    return number == 0x{SENTINEL};\n}}\n"
    text = b"".join(_pieces(source, 0, len(source), ordered, helpers))
    # The inserted modifier `guarded` calls it from the vault's halves, so that its mutants act there as well.
    text = text.replace(b"function _refuse(uint256 flags) private", b"function _refuse(uint256 flags) internal")
    return text + b"\n" + switch.encode()


def _helper(mutant: Mutant) -> str:
    """Helper code that a mutant's switch needs in its scope."""
    if mutant.kind == "modifier":
        name, _, arguments = mutant.old.rstrip(")").partition("(")
        body = _MODIFIERS[name].replace("@", str(mutant.number)).replace("#", arguments)
        return f"\n    modifier _modifier_{mutant.number}() {{\n        {body}\n    }}\n"
    if mutant.kind == "yul-call":
        return (
            f"\n            function _call_{mutant.number}(x, y) -> z {{ switch {_awake(mutant)}"
            f" case 0 {{ z := {mutant.old}(x, y) }} default {{ z := {mutant.new}(x, y) }} }}"
        )
    return ""


def _awake(mutant: Mutant) -> str:
    return f"eq({mutant.number}, 0x{SENTINEL})"


def _pieces(
    source: bytes,
    at: int,
    end: int,
    places: Sequence[list[Mutant]],
    helpers: Mapping[int, str],
) -> Iterator[bytes]:
    """The text from `at` to `end`, with switches around each place, outermost first."""
    next_ = 0
    while next_ < len(places):
        here = places[next_]
        start, stop = here[0].start, here[0].end
        next_ += 1
        first_within = next_
        while next_ < len(places) and places[next_][0].end <= stop:
            next_ += 1
        body = b"".join(_pieces(source, start, stop, places[first_within:next_], helpers))
        yield _with_helpers(source, at, start, helpers)
        marks = ",".join(str(each.number) for each in here)
        if here[0].kind == "statement":
            stop = source.index(b";", stop) + 1
        yield f"/*[{marks}*/".encode() + _switched(here, body) + f"/*{marks}]*/".encode()
        at = stop
    yield _with_helpers(source, at, end, helpers)


def _with_helpers(source: bytes, at: int, end: int, helpers: Mapping[int, str]) -> bytes:
    made = b""
    for scope in sorted(scope for scope in helpers if at <= scope < end):
        made += source[at:scope] + helpers[scope].encode()
        at = scope
    return made + source[at:end]


def _switched(here: Sequence[Mutant], body: bytes) -> bytes:
    first = here[0]
    match first.kind:
        case "statement":
            return b"{ if (!_mutant(%d)) { %s; } }" % (first.number, body)
        case "modifier":
            return b"_modifier_%d" % first.number
        case "yul-call":
            return b"_call_%d" % first.number
        case "yul-number":
            return f"add({first.old}, {_awake(first)})".encode()
        case "yul-statement":
            return f"if iszero({_awake(first)}) {{ ".encode() + body + b" }"
        case _:
            return _choice(here, body)


def _choice(here: Sequence[Mutant], body: bytes) -> bytes:
    # A number alone has a type as narrow as itself, and so has a choice of two; nothing may overflow that did not.
    wrapped = f"{here[0].cast}(%s)"
    switches = "".join(
        f"_mutant({each.number}) ? /*<{each.number}*/{wrapped % each.new}/*{each.number}>*/ : " for each in here
    )
    return b"(" + switches.encode() + wrapped.encode() % body + b")"


def misfits(schema_: bytes, errors: Sequence[tuple[int, int]], suspects: set[int]) -> set[int]:
    """The mutants with compiler errors, by the errors' positions in the schema.

    The compiler marks a whole expression when a number in it has the wrong type, so numbers are `suspects` first.
    """
    blamed: set[int] = set()
    marks = [(m.start(), m.group()) for m in re.finditer(rb"/\*[<\[]?[\d,]+[>\]]?\*/", schema_)]
    for start, end in errors:
        inside = [m for at, mark in marks if start <= at < end for m in re.findall(rb"\d+", mark)]
        if found := suspects & {int(number) for number in inside}:
            blamed |= found
            continue
        opened: list[tuple[int, ...]] = []
        own: list[int] = []
        for at, mark in marks:
            numbers = tuple(int(number) for number in re.findall(rb"\d+", mark))
            if at > start and (opened or own or at > end):
                break
            if mark.startswith(b"/*["):
                opened.append(numbers)
            elif mark.endswith(b"]*/"):
                opened.pop()
            elif mark.startswith(b"/*<"):
                own.append(numbers[0])
            else:
                own.pop()
        blamed |= {own[-1]} if own else set(opened[-1]) if opened else set()
    return blamed


def _range(node: Node) -> tuple[int, int]:
    start, length, _ = (int(part) for part in node["src"].split(":"))
    return start, start + length
