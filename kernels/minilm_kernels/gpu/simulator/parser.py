"""PTX text → kernels as lists of instructions. (PTX ISA manual, sections 4 and 5.)

    text → strip comments → statements ( ... ; ) with their line → directives and instructions

Names declared inside an inner { } scope (inline assembly) get a suffix, so that a kernel has one flat set of registers.
"""

from __future__ import annotations

import bisect
import re
from dataclasses import dataclass, field

from minilm_kernels.gpu.simulator.errors import UnknownInstruction
from minilm_kernels.gpu.simulator.types import TYPES, PtxType


@dataclass(frozen=True)
class Instruction:
    """`@guard opcode.modifiers operands;` — operands as text, a {list} or an [address] in one piece."""

    opcode: str
    modifiers: tuple[str, ...]
    operands: tuple[str, ...]
    line: int
    number: int  # its place in the kernel
    guard: str | None = None
    negated: bool = False
    source: str = ""  # "file:line" of the CUDA C++, where NVRTC was given -lineinfo

    def __str__(self) -> str:
        guard = f"@{'!' if self.negated else ''}{self.guard} " if self.guard else ""
        return f"{guard}{'.'.join((self.opcode, *self.modifiers))} {', '.join(self.operands)}".strip()

    def types(self) -> list[PtxType]:
        """The type suffixes, in order: cvt.rn.f16.f32 → [f16, f32]."""
        return [TYPES[m] for m in self.modifiers if m in TYPES]


@dataclass(frozen=True)
class Variable:
    """Memory with a name: `.shared .align 4 .b8 tile[512];`."""

    name: str
    space: str
    nbytes: int
    align: int
    values: bytes | None = None
    extern: bool = False


@dataclass(frozen=True)
class Parameter:
    """A kernel's parameter; `bits` bytes·8 of a struct where nbytes > 8."""

    name: str
    kind: PtxType
    nbytes: int
    count: int = 1


@dataclass
class Kernel:
    """A kernel (.entry) as it stands in the text."""

    name: str
    parameters: list[Parameter]
    instructions: list[Instruction] = field(default_factory=list)
    labels: dict[str, int] = field(default_factory=dict)  # → index of an instruction
    registers: dict[str, PtxType] = field(default_factory=dict)  # "%f" of %f<9>, or a full name
    variables: dict[str, Variable] = field(default_factory=dict)  # shared and local
    tables: dict[str, list[str]] = field(default_factory=dict)  # .branchtargets of brx.idx
    max_threads: int | None = None


@dataclass
class PtxModule:
    """All of a PTX text."""

    kernels: dict[str, Kernel]
    variables: dict[str, Variable]  # of the module: .global, .const and (extern) .shared
    target: str
    functions: tuple[str, ...] = ()  # .func: called functions are not executed


REGISTER = re.compile(r"\.reg\s+\.(\w+)\s+(.*)$", re.S)
VARIABLE = re.compile(
    r"((?:\.(?:visible|extern|weak|common)\s+)*)\.(shared|global|const|local)\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+"
    r"([\w$%]+)\s*((?:\[\d*\])*)\s*(?:=\s*(.*))?$",
    re.S,
)
LABEL = re.compile(r"([$%\w]+)\s*:(?!:)")
PARAMETER = re.compile(
    r"\.param\s+(?:\.align\s+(\d+)\s+)?\.(\w+)\s+(?:\.ptr\s*(?:\.\w+\s*)??(?:\.align\s+\d+\s+)?)?([\w$%]+)\s*(?:\[(\d+)\])?$"
)
NAME = re.compile(r"[%$\w]+")


def parse(text: str) -> PtxModule:
    """Parse a PTX text. Raises UnknownInstruction with the line for what is not understood."""
    return _Parser(_without_comments(text)).module()


def number(text: str) -> int:
    """An integer, or the bits of 0f3F800000 and 0d3FF0000000000000 (4.5.2)."""
    return int(text[2:], 16) if text[:2].lower() in ("0f", "0d") else int(text, 0)


def _without_comments(text: str) -> str:
    """Comments become spaces; line ends stay, so that line numbers hold."""
    blank = lambda m: re.sub(r"[^\n]", " ", m[0])  # noqa: E731
    return re.sub(r"/\*.*?\*/|//[^\n]*", blank, text, flags=re.S)


class _Parser:
    def __init__(self, text: str):
        self.text, self.at = text, 0
        self.ends = [m.start() for m in re.finditer("\n", text)]
        # NVRTC puts the list of source files at the end
        self.files = {m[1]: m[2].rpartition("/")[2] for m in re.finditer(r'^\s*\.file\s+(\d+)\s+"([^"]*)"', text, re.M)}
        self.source = ""

    # --- characters ---------------------------------------------------------------------------------------------------

    def line(self, at: int | None = None) -> int:
        return bisect.bisect_left(self.ends, self.at if at is None else at) + 1

    def skip_space(self) -> bool:
        """Go to the next character that is no space; False at the end."""
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1
        return self.at < len(self.text)

    def until(self, ends: str) -> str:
        """The text up to one of `ends` outside all brackets; goes past nothing."""
        depth, start = 0, self.at
        while self.at < len(self.text):
            c = self.text[self.at]
            if depth == 0 and c in ends:
                return self.text[start : self.at].strip()
            depth += (c in "{[(") - (c in "}])")
            self.at += 1
        raise UnknownInstruction(f"PTX line {self.line(start)}: the text ends within a statement")

    def rest_of_line(self) -> str:
        end = self.text.find("\n", self.at)
        end = len(self.text) if end < 0 else end
        found, self.at = self.text[self.at : end].strip(), end
        return found

    # --- the module ---------------------------------------------------------------------------------------------------

    def module(self) -> PtxModule:
        module = PtxModule({}, {}, "")
        while self.skip_space():
            start = self.at
            word = re.compile(r"[.\w]+").match(self.text, self.at)
            head = word[0] if word else ""
            if head in (".version", ".target", ".address_size"):
                line = self.rest_of_line()
                module.target = line.split()[1].rstrip(",") if head == ".target" else module.target
            elif head == ".file":
                self.rest_of_line()
            elif head == ".section":
                self.until("{")
                self.at += 1
                self.until("}")
                self.at += 1
            else:
                statement = self.until(";{=") if ".entry" not in head else self.until("{;")
                if re.search(r"\.(entry|func)\b", statement):
                    self.function(module, statement, start)
                else:
                    statement = self.text[start : self.at] + self.until(";")
                    self.at += 1
                    variable = self.variable(statement, start)
                    module.variables[variable.name] = variable
        return module

    def function(self, module: PtxModule, head: str, start: int) -> None:
        name = re.search(r"\.(entry|func)\s*(?:\([^)]*\)\s*)?([\w$%]+)", head, re.S)
        assert name is not None
        if self.text[self.at] == ";":  # a declaration
            self.at += 1
            return
        if name[1] == "func":
            module.functions += (name[2],)
            self.at += 1
            self.until("}")
            self.at += 1
            return
        inside = head[name.end() :]
        inside = inside[inside.index("(") + 1 : inside.index(")")] if "(" in inside else ""
        kernel = Kernel(name[2], [self.parameter(p, start) for p in inside.split(",") if p.strip()])
        if bound := re.search(r"\.(?:maxntid|reqntid)\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?", head):
            kernel.max_threads = int(bound[1]) * int(bound[2] or 1) * int(bound[3] or 1)
        self.at += 1
        self.source = ""
        self.body(kernel)
        module.kernels[kernel.name] = kernel

    def parameter(self, text: str, start: int) -> Parameter:
        m = PARAMETER.match(" ".join(text.split()))
        if m is None:
            raise UnknownInstruction(f"PTX line {self.line(start)}: parameter {text.strip()!r} is not understood")
        count = int(m[4] or 1)
        return Parameter(m[3], TYPES[m[2]], TYPES[m[2]].bytes * count, count)

    def variable(self, text: str, start: int) -> Variable:
        m = VARIABLE.match(text.strip())
        if m is None:
            raise UnknownInstruction(f"PTX line {self.line(start)}: {' '.join(text.split())!r} is not understood")
        kind = TYPES[m[4]]
        count = 1
        for size in re.findall(r"\[(\d*)\]", m[6]):
            count *= int(size or 0)
        values = None
        if m[7] is not None:
            numbers = [number(n) for n in re.findall(r"-?\w+", m[7])]
            values = b"".join((n % (1 << kind.bits)).to_bytes(kind.bytes, "little") for n in numbers)
            values = values.ljust(count * kind.bytes, b"\0")
        return Variable(m[5], m[2], count * kind.bytes, int(m[3] or kind.bytes), values, "extern" in m[1])

    # --- a body -------------------------------------------------------------------------------------------------------

    def body(self, kernel: Kernel) -> None:
        scopes: list[dict[str, str]] = [{}]
        scope_count = 0
        while self.skip_space():
            start = self.at
            c = self.text[self.at]
            if c == "{":
                scope_count += 1
                scopes.append({})
                self.at += 1
            elif c == "}":
                self.at += 1
                scopes.pop()
                if not scopes:
                    return
            elif label := LABEL.match(self.text, self.at):
                self.at = label.end()
                self.label(kernel, label[1], scopes)
            elif self.text.startswith((".loc ", ".loc\t"), self.at):
                words = self.rest_of_line().replace(",", " ").split()
                self.source = f"{self.files.get(words[1], words[1])}:{words[2]}"
            else:
                statement = self.until(";")
                self.at += 1
                if statement:
                    self.statement(kernel, statement, start, scopes, scope_count)

    def label(self, kernel: Kernel, name: str, scopes: list[dict[str, str]]) -> None:
        self.skip_space()
        if self.text.startswith(".branchtargets", self.at):
            names = self.until(";").removeprefix(".branchtargets")
            self.at += 1
            kernel.tables[name] = NAME.findall(names)
        else:
            kernel.labels[name] = len(kernel.instructions)

    def statement(self, kernel: Kernel, text: str, start: int, scopes: list[dict[str, str]], scope_count: int) -> None:
        if text.startswith(".reg"):
            self.declare(kernel, text, scopes, scope_count)
        elif text.startswith((".shared", ".local")):
            variable = self.variable(text, start)
            kernel.variables[variable.name] = variable
        elif text.startswith((".pragma", ".param")):
            return  # hints to the assembler; .param in a body belongs to a call, which is refused where it stands
        else:
            renamed = {old: new for scope in scopes for old, new in scope.items()}
            if renamed:
                text = NAME.sub(lambda m: renamed.get(m[0], m[0]), text)
            kernel.instructions.append(self.instruction(text, start, len(kernel.instructions)))

    def declare(self, kernel: Kernel, text: str, scopes: list[dict[str, str]], scope_count: int) -> None:
        m = REGISTER.match(text)
        assert m is not None
        for name in m[2].split(","):
            name = name.strip()
            if several := re.match(r"([%\w$]+)<\d+>$", name):
                kernel.registers[several[1]] = TYPES[m[1]]
            elif len(scopes) > 1:
                scopes[-1][name] = f"{name}@{scope_count}"
                kernel.registers[f"{name}@{scope_count}"] = TYPES[m[1]]
            else:
                kernel.registers[name] = TYPES[m[1]]

    def instruction(self, text: str, start: int, number: int) -> Instruction:
        m = re.match(r"(?:@(!?)([%\w$@]+)\s+)?([\w.:]+)\s*(.*)$", text, re.S)
        if m is None:
            raise UnknownInstruction(f"PTX line {self.line(start)}: {text!r} is not understood")
        opcode, *modifiers = m[3].replace("::", "_").split(".")
        operands = re.findall(r"\{[^}]*\}|\[[^\]]*\]|\([^)]*\)|[^,\s]+", m[4])
        return Instruction(
            opcode, tuple(modifiers), tuple(" ".join(o.split()) for o in operands), self.line(start), number,
            m[2], m[1] == "!", self.source,
        )  # fmt: skip
