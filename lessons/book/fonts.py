"""A font with Chinese characters for the figures."""

from __future__ import annotations

CHINESE = ["Noto Sans CJK SC", "Noto Sans SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei",
           "PingFang SC", "Heiti SC", "Hiragino Sans GB", "Microsoft YaHei", "SimHei", "Noto Sans CJK JP"]  # fmt: skip
ADVICE = (
    "no font with Chinese characters is installed, so the figures of the Chinese pages keep English labels; "
    "install one, e.g. apt install fonts-noto-cjk, or fonts-wqy-microhei"
)


def chinese_font() -> str | None:
    """The first of the known fonts that matplotlib finds here; a font that was just installed counts."""
    from matplotlib import font_manager

    for known in (font_manager.fontManager, None):
        manager = known or font_manager._load_fontmanager(try_read_cache=False)  # type: ignore[attr-defined]
        names = {font.name for font in manager.ttflist}
        found = next((font for font in CHINESE if font in names), None)
        if found:
            return found
    return None
