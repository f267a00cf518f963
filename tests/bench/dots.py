"""Dot plots as SVG, by hand: a row for each line, a dot for each peer, panels side by side."""
import math
from xml.sax.saxutils import escape

from chart import COLOURS, FONT, label, text

WIDTH, ROW, TOP, BOTTOM, NAMES, RIGHT = 420, 22, 92, 46, 120, 24
PALETTE = (*COLOURS, "#8a94a0", "#b08a00")


class Scale:
    """From a value to its place; `ticks` are written below."""

    def __init__(self, ticks, logarithmic=False):
        self.ticks, self.by = ticks, math.log10 if logarithmic else float
        self.low, self.high = self.by(ticks[0]), self.by(ticks[-1])

    def across(self, value):
        share = (self.by(min(max(value, self.ticks[0]), self.ticks[-1])) - self.low) / (self.high - self.low)
        return NAMES + share * (WIDTH - NAMES - RIGHT)


def svg(title, subtitle, panels, scale, unit):
    """`panels`: {heading: {row: {peer: value or None}}}. What is beyond the scale is at its end."""
    rows = list(dict.fromkeys(row for rows in panels.values() for row in rows))
    peers = list(dict.fromkeys(peer for rows in panels.values() for values in rows.values() for peer in values))
    width, height = WIDTH * len(panels), TOP + ROW * len(rows) + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" {FONT}>',
        f"<title>{escape(title)}</title>", f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        text(20, 28, title, 17, "#1b1f24", weight=600), text(20, 48, subtitle, 11.5, "#5a6370"),
    ]
    colours, beside = dict(zip(peers, PALETTE)), 20.0
    for peer, colour in colours.items():
        parts.append(f'<circle cx="{beside + 4:.1f}" cy="64" r="4.5" fill="{colour}"/>')
        parts.append(text(beside + 12, 68, peer, 11.5, "#3c444d"))
        beside += 30 + 6.8 * len(peer)
    for index, (heading, values) in enumerate(panels.items()):
        parts.append(f'<g transform="translate({WIDTH * index} {TOP})">')
        parts += panel(heading, rows, values, colours, scale, unit)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def panel(heading, rows, values, colours, scale, unit):
    bottom = ROW * len(rows)
    parts = [text(NAMES, -6, heading, 12.5, "#1b1f24", weight=600)]
    for tick in scale.ticks:
        x = scale.across(tick)
        parts.append(f'<line x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{bottom}" stroke="#e3e7eb"/>')
        parts.append(text(x, bottom + 16, label(tick), 10.5, "#5a6370", "middle"))
    parts.append(text((NAMES + WIDTH - RIGHT) / 2, bottom + 34, unit, 11, "#3c444d", "middle"))
    for number, row in enumerate(rows):
        y = ROW * (number + 0.5)
        parts.append(f'<line x1="{NAMES}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}" stroke="#f0f2f4"/>')
        parts.append(text(NAMES - 10, y + 4, row, 11, "#3c444d", "end"))
        # Ours is drawn last, on top.
        for peer, colour in reversed(colours.items()):
            if (value := values.get(row, {}).get(peer)) is not None:
                told = f"{row}, {peer}: {value:,.4g}"
                parts.append(f'<circle cx="{scale.across(value):.1f}" cy="{y}" r="4.5" fill="{colour}" fill-opacity="0.9"><title>{escape(told)}</title></circle>')
    return parts
