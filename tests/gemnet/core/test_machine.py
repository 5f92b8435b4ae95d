"""What the machine tells of itself."""

from gemnet.core.machine import has_bfloat16


def test_a_cpu_with_instructions_for_bfloat16_is_known_by_its_flags(tmp_path):
    file = tmp_path / "cpuinfo"
    for flags, known in (
        ("flags\t\t: fpu avx2 avx512f", False),
        ("flags\t\t: fpu avx512f avx512_bf16", True),
        ("flags\t\t: fpu amx_bf16 amx_tile", True),
        ("Features\t: fp asimd", False),
        ("Features\t: fp asimd bf16", True),
        ("vendor: unknown", None),
    ):
        file.write_text(f"processor\t: 0\n{flags}\n")
        assert has_bfloat16(file) is known
    assert has_bfloat16(tmp_path / "none") is None
