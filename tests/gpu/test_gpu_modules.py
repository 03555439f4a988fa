"""Programs of kernels on disk: with our options alone, read again, made anew where damaged. CuPy's two parts are played."""

from __future__ import annotations

import sys
import types
from pathlib import Path

import pytest

from minilm_kernels.gpu import compile as compiling
from minilm_kernels.gpu import modules


class NVRTCError(Exception): ...


class CUDADriverError(Exception): ...


class Nvrtc(types.SimpleNamespace):
    """cupy.cuda.nvrtc: notes the options of each compilation; `refused`: the architectures it does not know."""

    NVRTCError = NVRTCError

    def __init__(self, refused: tuple[str, ...] = (), error: str = ""):
        super().__init__(calls=[], refused=refused, error=error, destroyed=0)

    def getVersion(self):
        return 13, 0

    def createProgram(self, code, name, headers, include_names):
        return {"code": code}

    def addNameExpression(self, program, expression):
        program["expression"] = expression

    def compileProgram(self, program, options):
        self.calls.append(options)
        program["arch"] = options[-1].partition("=")[2]
        if program["arch"] in self.refused:
            program["log"] = "nvrtc: error: invalid value for --gpu-architecture (-arch)"
            raise NVRTCError
        if self.error:
            program["log"] = self.error
            raise NVRTCError

    def getCUBIN(self, program):
        return f"program for {program['arch']}".encode()

    def getPTX(self, program):
        return f"ptx for {program['arch']}"

    def getLoweredName(self, program, expression):
        return f"_Z{len(expression)}"

    def getProgramLog(self, program):
        return program["log"]

    def destroyProgram(self, program):
        self.destroyed += 1


class RawKernel:
    """Reads its file when something is asked of it."""

    def __init__(self, path, name):
        self.path, self.name = path, name

    @property
    def num_regs(self):
        if b" for " not in self.path.read_bytes():
            raise CUDADriverError("CUDA_ERROR_INVALID_IMAGE")
        self.content = self.path.read_text()
        return 32


class RawModule:
    def __init__(self, *, path):
        self.path = Path(path)

    def get_function(self, name):
        return RawKernel(self.path, name)


@pytest.fixture
def play(monkeypatch, tmp_path):
    """Puts a CuPy with this NVRTC in the place of CuPy, and an empty cache folder."""
    monkeypatch.setenv("MINILM_CACHE_DIR", str(tmp_path / "cache"))

    def begin(nvrtc: Nvrtc) -> Nvrtc:
        device = types.SimpleNamespace(compute_capability="90")
        driver = types.SimpleNamespace(CUDADriverError=CUDADriverError)
        cuda = types.SimpleNamespace(nvrtc=nvrtc, Device=lambda: device, driver=driver)
        monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(RawModule=RawModule, cuda=cuda))
        return nvrtc

    return begin


def make(expression="scale<float>", code="code"):
    module = modules.GpuModule(code=code, options=compiling.OPTIONS, name_expressions=(expression,))
    kernel = module.get_function(expression)
    return kernel.name, kernel.num_regs and kernel.content


def test_our_options_and_no_others(play):
    """-ftz=true, which CuPy would add, makes 0 of every number below 2⁻¹²⁶."""
    nvrtc = play(Nvrtc())
    assert make() == ("_Z12", "program for sm_90")
    assert nvrtc.calls == [(*compiling.OPTIONS, "--gpu-architecture=sm_90")]
    assert not any("ftz" in option or "fast" in option for option in compiling.OPTIONS)


def test_a_program_is_read_again(play, tmp_path):
    nvrtc = play(Nvrtc())
    assert make() == make()
    assert len(nvrtc.calls) == nvrtc.destroyed == 1
    make("scale<double>")
    make(code="other code")
    assert len(nvrtc.calls) == 3
    files = sorted(path.suffix for path in (tmp_path / "cache").rglob("*.*"))
    assert files == [".cubin"] * 3 + [".name"] * 3  # and nothing half-written


@pytest.mark.parametrize("damage", ["half", "name", "both"])
def test_a_damaged_file_is_made_anew(play, tmp_path, damage):
    nvrtc = play(Nvrtc())
    found = make()
    (program,) = (tmp_path / "cache").rglob("*.cubin")
    if damage != "name":
        program.write_bytes(b"half of")
    if damage != "half":
        program.with_suffix(".name").unlink()
    assert make() == found
    assert len(nvrtc.calls) == 2
    assert make() == found
    assert len(nvrtc.calls) == 2


def test_where_nothing_can_be_kept_it_still_runs(play, tmp_path):
    nvrtc = play(Nvrtc())
    (tmp_path / "cache").write_text("a file where the folder should be")
    module = modules.GpuModule(code="code", options=(), name_expressions=("scale<float>",))
    assert module.name == "_Z12"
    assert len(nvrtc.calls) == 1


def test_a_gpu_that_nvrtc_does_not_know_gets_ptx(play):
    nvrtc = play(Nvrtc(refused=("sm_90", "compute_89")))
    assert make() == ("_Z12", "ptx for compute_87")
    assert [options[-1].partition("=")[2] for options in nvrtc.calls] == ["sm_90", "compute_89", "compute_87"]


def test_an_error_in_the_code_is_told(play):
    nvrtc = play(Nvrtc(error='kernel.cu(3): error: identifier "x" is undefined'))
    with pytest.raises(RuntimeError, match=r"cannot compile scale<float>: kernel\.cu\(3\)"):
        make()
    assert len(nvrtc.calls) == nvrtc.destroyed == 1


def test_another_kernel_is_refused(play):
    play(Nvrtc())
    module = modules.GpuModule(code="code", options=(), name_expressions=("scale<float>",))
    with pytest.raises(ValueError, match="holds scale<float>"):
        module.get_function("scale<double>")
