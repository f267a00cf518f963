"""Line charts as SVG, by hand: panels side by side, x logarithmic, y from zero."""
import math
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 340, 280
LEFT, RIGHT, TOP, BOTTOM = 62, 26, 58, 56
COLOURS = ("#1f5fa8", "#c2571a", "#2e7d4f", "#7a4a9c")
FONT = "font-family=\"system-ui, -apple-system, 'Segoe UI', sans-serif\""


def svg(title, subtitle, x_label, panels):
    """`panels`: (title with its unit, {series: [(x, y), …]}). Points without a value are left out."""
    width = WIDTH * len(panels)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {HEIGHT + 62}" width="{width}" height="{HEIGHT + 62}" '
        f'role="img" {FONT}>',
        f"<title>{escape(title)}</title>",
        f'<rect width="{width}" height="{HEIGHT + 62}" fill="#ffffff"/>',
        text(20, 28, title, 17, "#1b1f24", weight=600),
        text(20, 48, subtitle, 11.5, "#5a6370"),
    ]
    for index, (heading, series) in enumerate(panels):
        parts.append(f'<g transform="translate({WIDTH * index} 58)">')
        parts += panel(heading, x_label, {name: [point for point in points if point[1] is not None] for name, points in series.items()})
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def panel(heading, x_label, series):
    xs = sorted({x for points in series.values() for x, _ in points})
    top = max((y for points in series.values() for _, y in points), default=0) or 1
    step = nice(top / 4)
    ceiling = step * math.ceil(top / step * 1.0001)
    low, high = math.log10(xs[0]), math.log10(xs[-1])

    def across(x):
        share = (math.log10(x) - low) / (high - low) if high > low else 0.5
        return LEFT + share * (WIDTH - LEFT - RIGHT)

    def up(y):
        return HEIGHT - BOTTOM - y / ceiling * (HEIGHT - TOP - BOTTOM)

    parts = [text(LEFT - 42, 22, heading, 13, "#1b1f24", weight=600)]
    for number in range(round(ceiling / step) + 1):
        y = number * step
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up(y):.1f}" y2="{up(y):.1f}" stroke="{"#8a94a0" if y == 0 else "#e3e7eb"}"/>')
        parts.append(text(LEFT - 8, up(y) + 4, label(y), 11, "#5a6370", "end"))
    for x in ticks(xs):
        parts.append(f'<line x1="{across(x):.1f}" x2="{across(x):.1f}" y1="{HEIGHT - BOTTOM}" y2="{HEIGHT - BOTTOM + 4}" stroke="#8a94a0"/>')
        parts.append(text(across(x), HEIGHT - BOTTOM + 18, label(x), 11, "#5a6370", "middle"))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - BOTTOM + 38, x_label, 11.5, "#3c444d", "middle"))
    beside = LEFT
    for (name, points), colour in zip(series.items(), COLOURS):
        line = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2" stroke-linejoin="round"/>')
        for x, y in points:
            parts.append(f'<circle cx="{across(x):.1f}" cy="{up(y):.1f}" r="3" fill="{colour}"><title>{escape(name)}, {label(x)}: {y:,.3g}</title></circle>')
        if len(series) > 1 or name:
            parts.append(f'<line x1="{beside}" x2="{beside + 14}" y1="38" y2="38" stroke="{colour}" stroke-width="3"/>')
            parts.append(text(beside + 18, 42, name, 11, "#3c444d"))
            beside += 30 + 6.2 * len(name)
    return parts


def text(x, y, words, size, colour, anchor="start", weight=400):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{colour}" text-anchor="{anchor}" font-weight="{weight}">{escape(words)}</text>'


def nice(step):
    """The next of 1, 2, 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= step * 0.9999)


def ticks(xs):
    """Powers of ten, and the ends where they are none and have room."""
    found = [10**power for power in range(math.ceil(math.log10(xs[0])), math.floor(math.log10(xs[-1])) + 1)]
    return sorted({*found, *(x for x in (xs[0], xs[-1]) if all(abs(math.log10(x / other)) > 0.25 for other in found))})


def label(value):
    return f"{value:,.0f}" if value >= 10 or value == int(value) else f"{value:.3g}"
